import type { Capability, LimitName, Platform } from '../platform.ts'
import { LocalPuppet } from './local-puppet.ts'
import type { Puppet } from './puppet.ts'
import type { ProfileName, Rig, RigDomain } from './rig.ts'

/** A process of a world: a platform that can be killed. */
export interface WorldProcess extends Platform {
  readonly pid: number
  kill(): void
}

/** What the rig needs of a world. */
export interface RigWorld {
  readonly clock: { advance(ms: number): void }
  domain(domid: number): { process(): WorldProcess; destroy(): void }
  getLimit(name: LimitName): number
  setLimit(name: LimitName, pages: number): void
  /** Throws with what is left. */
  assertEmpty(): void
}

export interface SimRigOptions {
  readonly profile?: ProfileName
  /** A new world, as at the start of every case, so that a case runs alike alone and in a row. */
  readonly createWorld: (profile: ProfileName) => RigWorld
}

const DOMID = 1
const KERNELS: Readonly<Record<ProfileName, string>> = {
  'linux-6.1': '6.1.192',
  'linux-6.12': '6.12.117',
}
const CAPABILITIES: ReadonlySet<Capability> = new Set(['two-domains'])
/** Everything happens at once in a world: this long only lets promises run. */
const WATCHDOG_MS = 1000
/** Frees what was still mapped when it was deallocated: ten entries a second. */
const DRAIN_MS = 200_000

/** A world, its puppets processes of domain 1. */
export function createSimRig(options: SimRigOptions): Rig {
  return new SimRig(options)
}

class SimRig implements Rig {
  readonly name = 'sim'
  readonly kernel: string
  readonly profile: ProfileName
  readonly capabilities = CAPABILITIES
  readonly domid = DOMID
  readonly watchdogMs = WATCHDOG_MS
  readonly #createWorld: (profile: ProfileName) => RigWorld
  #world: RigWorld
  #puppets: Puppet[] = []
  /** Processes that the case may have ended: closing them again does nothing. */
  #disposables: WorldProcess[] = []
  #otherDomains: { destroy(): void }[] = []

  constructor({ profile = 'linux-6.12', createWorld }: SimRigOptions) {
    this.profile = profile
    this.kernel = KERNELS[profile]
    this.#createWorld = createWorld
    this.#world = createWorld(profile)
  }

  async puppet(n: number): Promise<Puppet> {
    while (this.#puppets.length <= n) {
      const process = this.#world.domain(DOMID).process()
      this.#puppets.push(new LocalPuppet(process, process.pid))
    }
    const puppet = this.#puppets[n]
    if (!puppet) throw new RangeError(`no puppet ${n}`)
    return puppet
  }

  async disposable(): Promise<Puppet> {
    return this.#spawn(DOMID)
  }

  async otherDomain(): Promise<RigDomain> {
    const domid = DOMID + 1 + this.#otherDomains.length
    const domain = this.#world.domain(domid)
    this.#otherDomains.push(domain)
    return {
      domid,
      puppet: async () => this.#spawn(domid),
      destroy: async () => domain.destroy(),
    }
  }

  async getLimit(name: LimitName): Promise<number> {
    return this.#world.getLimit(name)
  }

  async setLimit(name: LimitName, pages: number): Promise<void> {
    this.#world.setLimit(name, pages)
  }

  async settle(ms: number): Promise<void> {
    this.#world.clock.advance(ms)
  }

  async clean(): Promise<void> {
    const world = this.#world
    const puppets = this.#puppets
    const disposables = this.#disposables
    this.#world = this.#createWorld(this.profile)
    this.#puppets = []
    this.#disposables = []
    this.#otherDomains = []
    for (const puppet of puppets) await puppet.reset()
    for (const process of disposables) process.close()
    world.clock.advance(DRAIN_MS)
    world.assertEmpty()
  }

  async close(): Promise<void> {}

  #spawn(domid: number): Puppet {
    const process = this.#world.domain(domid).process()
    this.#disposables.push(process)
    return new LocalPuppet(process, process.pid, () => process.kill())
  }
}
