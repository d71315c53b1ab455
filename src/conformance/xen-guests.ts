import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { promisify } from 'node:util'
import { ChildPuppet } from './child-puppet.ts'
import type { Puppet } from './puppet.ts'
import type { RigDomain } from './rig.ts'

/** Where the test bed's dom0 has a folder for each guest that it made. */
const GUESTS = '/run/testbed'

const execute = promisify(execFile)

/** The numbers of the test bed's guests, which are their domids; none in any other domain. */
export function guestsHere(): number[] {
  let names: string[] = []
  try {
    names = readdirSync(GUESTS)
  } catch {
    // No test bed, or a guest of one.
  }
  return names.map(name => Number(/^domu(\d+)$/.exec(name)?.[1])).filter(domid => domid > 0)
}

/** Starts the puppet in C in a guest; dom0's `domu` carries its lines. */
export function startGuestPuppet(program: string, domid: number): Promise<ChildPuppet> {
  return ChildPuppet.start({
    command: ['domu', String(domid), `INTERDOM_DOMID=${domid} exec ${program}`],
    kill: async pid => {
      await execute('domu', [String(domid), `kill -9 ${pid}`])
    },
  })
}

/**
 * The other domains of dom0's rig: guests that serve case after case, each in its turn. One that a
 * case destroyed is followed by a new one when the next case asks for it, and not before: a guest
 * that boots takes ports of dom0, whose numbers are the subject of some cases.
 */
export class XenGuests {
  readonly #program: string
  readonly #free: XenGuest[]
  readonly #taken: XenGuest[] = []

  /** @param program - Where the guests have the puppet in C. */
  constructor(program: string, domids: readonly number[]) {
    this.#program = program
    this.#free = domids.map(domid => new XenGuest(program, domid))
  }

  async take(): Promise<RigDomain> {
    const guest = this.#free.shift() ?? new XenGuest(this.#program, await newGuest())
    this.#taken.push(guest)
    return guest
  }

  /** Ends a case. */
  async reset(): Promise<void> {
    for (const guest of this.#taken.splice(0)) {
      await guest.reset()
      if (!guest.isDestroyed) this.#free.push(guest)
    }
  }

  async close(): Promise<void> {
    await this.reset()
    await Promise.all(this.#free.splice(0).map(guest => guest.close()))
  }
}

class XenGuest implements RigDomain {
  readonly domid: number
  isDestroyed = false
  readonly #program: string
  #puppets: ChildPuppet[] = []
  /** Started while others have their turn: it takes half a second. */
  #spare: Promise<ChildPuppet> | undefined

  constructor(program: string, domid: number) {
    this.#program = program
    this.domid = domid
    this.#prepare()
  }

  async puppet(): Promise<Puppet> {
    const puppet = await (this.#spare ?? this.#start())
    this.#spare = undefined
    this.#puppets.push(puppet)
    return puppet
  }

  async destroy(): Promise<void> {
    this.isDestroyed = true
    await execute('xl', ['destroy', `domu${this.domid}`])
    for (const puppet of this.#puppets) await puppet.gone()
  }

  async reset(): Promise<void> {
    for (const puppet of this.#puppets.splice(0)) await puppet.exit()
    if (!this.isDestroyed) this.#prepare()
  }

  async close(): Promise<void> {
    await this.#spare?.then(puppet => puppet.exit())
  }

  #prepare(): void {
    this.#spare ??= this.#start()
    // Whoever takes it hears of its failure; until then it must not end the run.
    this.#spare.catch(() => {})
  }

  #start(): Promise<ChildPuppet> {
    return startGuestPuppet(this.#program, this.domid)
  }
}

async function newGuest(): Promise<number> {
  return Number((await execute('new-guest')).stdout)
}
