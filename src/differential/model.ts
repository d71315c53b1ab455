import { ERRNO } from '../abi/errno.ts'
import { PROT_NONE, PROT_WRITE } from '../abi/mman.ts'
import { LocalPuppet } from '../conformance/local-puppet.ts'
import { Puppet } from '../conformance/puppet.ts'
import type { Fault, Reply, Request } from '../conformance/puppet-protocol.ts'
import { NO_FRAME } from '../hypervisor/page-store.ts'
import type { ProfileName } from '../kernel/profiles.ts'
import type { Address, LimitName } from '../platform.ts'
import { createWorld, type World, type WorldDomain, type WorldProcess } from '../sim/index.ts'
import { type Side, sideOf } from './sequence.ts'
import type { Domains, Stage } from './stage.ts'

/** Of dom0 and of a guest, as on the test bed. */
export const DOMIDS: readonly [number, number] = [0, 1]
/** Everything happens at once in a world: this long only lets promises run. */
const WATCHDOG_MS = 200

/** One thing that was done on the model, and what it answered: what a script is made of. */
export type Taken =
  | { readonly process: number; readonly request: Request; readonly reply: Reply }
  | { readonly kill: number }
  | { readonly limit: LimitName; readonly pages: number }
  | { readonly settleMs: number }
  | { readonly guest: 'begins' | 'destroyed' }

/**
 * A world as a stage, a new one for every sequence. Besides playing, it knows what nobody else can
 * tell: what an access to memory would end in, and whether a timer would do anything now.
 */
export class Model implements Stage {
  readonly domids: readonly [number, number?]
  readonly watchdogMs: number = WATCHDOG_MS
  readonly survivesFaults: boolean = true
  readonly #profile: ProfileName
  readonly #puppets = new Map<number, ModelPuppet>()
  #world: World
  #taken: Taken[] = []

  constructor(profile: ProfileName, domains: Domains = 1) {
    this.#profile = profile
    this.domids = domains === 2 ? DOMIDS : [DOMIDS[0]]
    this.#world = createWorld({ kernel: profile })
  }

  /** All that was done since the model was new. */
  get taken(): readonly Taken[] {
    return this.#taken
  }

  get domains(): Domains {
    return this.domids.length === 2 ? 2 : 1
  }

  async begin(): Promise<void> {
    if (this.domains === 1) return
    this.#domain(1)
    this.#taken.push({ guest: 'begins' })
  }

  async puppet(n: number): Promise<Puppet> {
    const known = this.#puppets.get(n)
    if (known) return known
    const taken = this.#taken
    const made = new ModelPuppet(this.#domain(sideOf(n)).process(), (request, reply) =>
      taken.push({ process: n, request, reply }),
    )
    this.#puppets.set(n, made)
    return made
  }

  async kill(n: number): Promise<void> {
    await this.#puppets.get(n)?.kill()
    this.#puppets.delete(n)
    this.#taken.push({ kill: n })
  }

  async destroyOther(): Promise<void> {
    this.#domain(1).destroy()
    for (const n of [...this.#puppets.keys()]) if (sideOf(n) === 1) this.#puppets.delete(n)
    this.#taken.push({ guest: 'destroyed' })
  }

  async setLimit(name: LimitName, pages: number): Promise<void> {
    this.#domain(0).limits[name] = pages
    this.#taken.push({ limit: name, pages })
  }

  async settle(ms: number): Promise<void> {
    this.#world.clock.advance(ms)
    this.#taken.push({ settleMs: ms })
  }

  needsSettling(): boolean {
    for (const { grantRefs, isDying, xen } of this.#world.machine.domains()) {
      // The kernel of a zombie frees nothing any more.
      if (!isDying && grantRefs.deferred.some(ref => !xen.grants.isInUse(ref))) return true
    }
    return false
  }

  async reset(): Promise<void> {
    for (const puppet of this.#puppets.values()) await puppet.reset()
  }

  /** Throws when the world still holds something. */
  assertEmpty(): void {
    this.#world.assertEmpty()
  }

  async renew(): Promise<void> {
    this.#puppets.clear()
    this.#taken = []
    this.#world.close()
    this.#world = createWorld({ kernel: this.#profile })
  }

  async close(): Promise<void> {
    this.#world.close()
  }

  #domain(side: Side): WorldDomain {
    return this.#world.domain(DOMIDS[side])
  }
}

/** A puppet in a world that answers with a signal where a real process would meet it. */
class ModelPuppet extends Puppet {
  readonly pid: number
  readonly #process: WorldProcess
  readonly #puppet: LocalPuppet
  readonly #note: (request: Request, reply: Reply) => void

  constructor(process: WorldProcess, note: (request: Request, reply: Reply) => void) {
    super()
    this.pid = process.pid
    this.#process = process
    this.#puppet = new LocalPuppet(process, process.pid, () => process.kill())
    this.#note = note
  }

  override async call(request: Request): Promise<Reply> {
    const signal = this.#faultOf(request)
    const reply = signal
      ? { result: -ERRNO.EFAULT, signal }
      : // The agent answers into the bytes that it was given.
        await this.#puppet.call(
          'bytes' in request && request.bytes
            ? { ...request, bytes: request.bytes.slice() }
            : request,
        )
    this.#note(request, reply)
    return reply
  }

  override kill(): Promise<void> {
    return this.#puppet.kill()
  }

  override exit(): Promise<void> {
    return this.#puppet.exit()
  }

  #faultOf(request: Request): Fault | undefined {
    if (request.op === 'peek') return this.#faultAt(request.address, false)
    if (request.op === 'poke') return this.#faultAt(request.address, true)
    return undefined
  }

  #faultAt(address: Address, isStore: boolean): Fault | undefined {
    const vma = this.#process.kernel.vma(address)
    if (!vma || vma.prot === PROT_NONE) return 'SIGSEGV'
    if (isStore && (vma.prot & PROT_WRITE) === 0) return 'SIGSEGV'
    return vma.backing?.frame(vma.pageAt(address)) === NO_FRAME ? 'SIGBUS' : undefined
  }
}
