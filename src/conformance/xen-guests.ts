import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { GuestPuppet } from './guest-puppet.ts'
import { GuestServices } from './guest-services.ts'
import type { Puppet } from './puppet.ts'
import type { RigDomain } from './rig.ts'

/** Where the test bed's dom0 has a folder for each guest that it made. */
const GUESTS = '/run/testbed'

/** For the payload, which a guest may get while dom0 is at work already. */
const POLL_MS = 50

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
  readonly #services: Promise<GuestServices>
  #puppets: GuestPuppet[] = []

  constructor(program: string, domid: number) {
    this.domid = domid
    this.#services = payloadIn(domid).then(() => GuestServices.start(program, domid))
    // Whoever needs them hears of their failure; until then it must not end the run.
    this.#services.catch(() => {})
  }

  async puppet(): Promise<Puppet> {
    const puppet = await GuestPuppet.start(await this.#services)
    this.#puppets.push(puppet)
    return puppet
  }

  async destroy(): Promise<void> {
    this.isDestroyed = true
    await execute('xl', ['destroy', `domu${this.domid}`])
    for (const puppet of this.#puppets) puppet.lose()
    await this.close()
  }

  async reset(): Promise<void> {
    for (const puppet of this.#puppets.splice(0)) await puppet.exit()
  }

  async close(): Promise<void> {
    const services = await this.#services.catch(() => undefined)
    services?.close()
  }
}

/** Resolves once the program is there that is to be started; `domu` waits for the same. */
async function payloadIn(domid: number): Promise<void> {
  while (existsSync(`${GUESTS}/domu${domid}/unpacking`)) await setTimeout(POLL_MS)
}

async function newGuest(): Promise<number> {
  return Number((await execute('new-guest')).stdout)
}
