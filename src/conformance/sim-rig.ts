import { DEFAULT_PROFILE, type KernelProfile, PROFILES } from '../kernel/profiles.ts'
import type { Capability, LimitName, Platform } from '../platform.ts'
import { createWorld, type World, type WorldDomain, type WorldProcess } from '../sim/index.ts'
import { LocalPuppet } from './local-puppet.ts'
import type { Puppet } from './puppet.ts'
import type { Rig, RigDomain, RigPeer } from './rig.ts'
import { WorldPuppet } from './world-puppet.ts'

export interface SimRigOptions {
  /** What the cases expect. */
  readonly profile?: KernelProfile
  readonly kind?: 'pv' | 'hvm'
  /** Makes the world of a case; by default one that imitates the profile. */
  readonly createWorld?: (profile: KernelProfile) => World
  /** What puppets get instead of a process itself: tests break a rule here. */
  readonly wrap?: (process: Platform) => Platform
}

const DOMID = 1
/** Of the other side of grants, where there is one. */
const PEER_DOMID = 2
/** Damage to a simulated kernel shows nothing about a real one: those cases are left out. */
const CAPABILITIES: ReadonlySet<Capability> = new Set([
  'fork',
  'signal',
  'fault',
  'remap',
  'two-domains',
])
/** Everything happens at once in a world: this long only lets promises run. */
const WATCHDOG_MS = 200
/** Frees what was still mapped when it was deallocated: ten entries a second. */
const DRAIN_MS = 200_000

/** Worlds of one process, a new one for every case: it runs alike alone and in a row. */
export function createSimRig(options: SimRigOptions = {}): Rig {
  return new SimRig(options)
}

class SimRig implements Rig {
  readonly name = 'sim'
  readonly kernel: string
  readonly profile: KernelProfile
  readonly kind: 'pv' | 'hvm'
  readonly peer?: RigPeer
  readonly capabilities = CAPABILITIES
  readonly domid = DOMID
  readonly watchdogMs = WATCHDOG_MS
  readonly isTimeOurs = true
  readonly #createWorld: (profile: KernelProfile) => World
  readonly #wrap: (process: Platform) => Platform
  #world: World
  #puppets: Puppet[] = []
  #peerPuppet: Puppet | undefined
  /** Processes that the case may have ended: closing them again does nothing. */
  #disposables: WorldProcess[] = []
  #otherDomains: WorldDomain[] = []

  constructor(options: SimRigOptions) {
    this.profile = options.profile ?? PROFILES[DEFAULT_PROFILE]
    this.kernel = this.profile.release
    this.kind = options.kind ?? 'pv'
    if (this.kind === 'hvm') this.peer = { domid: PEER_DOMID, puppet: () => this.#peer() }
    this.#createWorld = options.createWorld ?? (kernel => createWorld({ kernel }))
    this.#wrap = options.wrap ?? (process => process)
    this.#world = this.#createWorld(this.profile)
  }

  async puppet(n: number): Promise<Puppet> {
    while (this.#puppets.length <= n) {
      this.#puppets.push(this.#keep(this.#domain()))
    }
    const puppet = this.#puppets[n]
    if (!puppet) throw new RangeError(`no puppet ${n}`)
    return puppet
  }

  async disposable(): Promise<Puppet> {
    return this.#spawn(DOMID)
  }

  async able(): Promise<Puppet> {
    const process = this.#process(DOMID)
    const forked = (child: WorldProcess): void => void this.#disposables.push(child)
    return new WorldPuppet(process, { wrap: this.#wrap, forked })
  }

  async otherDomain(): Promise<RigDomain> {
    const domid = PEER_DOMID + 1 + this.#otherDomains.length
    const domain = this.#world.domain(domid)
    this.#otherDomains.push(domain)
    return {
      domid,
      puppet: async () => this.#spawn(domid),
      destroy: async () => domain.destroy(),
    }
  }

  async getLimit(name: LimitName): Promise<number> {
    return this.#domain().limits[name]
  }

  async setLimit(name: LimitName, pages: number): Promise<void> {
    this.#domain().limits[name] = pages
  }

  async settle(ms: number): Promise<void> {
    this.#world.clock.advance(ms)
  }

  async clean(): Promise<void> {
    using world = this.#world
    const puppets = this.#puppets
    const disposables = this.#disposables
    this.#world = this.#createWorld(this.profile)
    const peer = this.#peerPuppet
    this.#puppets = []
    this.#peerPuppet = undefined
    this.#disposables = []
    this.#otherDomains = []
    for (const puppet of puppets) await puppet.reset()
    await peer?.reset()
    for (const process of disposables) process.close()
    world.clock.advance(DRAIN_MS)
    world.assertEmpty()
  }

  async close(): Promise<void> {
    this.#world.close()
  }

  #domain(): WorldDomain {
    return this.#world.domain(DOMID, { kind: this.kind })
  }

  async #peer(): Promise<Puppet> {
    this.#peerPuppet ??= this.#keep(this.#world.domain(PEER_DOMID))
    return this.#peerPuppet
  }

  #keep(domain: WorldDomain): Puppet {
    const process = domain.process()
    return new LocalPuppet(this.#wrap(process), process.pid)
  }

  #spawn(domid: number): Puppet {
    const process = this.#process(domid)
    return new LocalPuppet(this.#wrap(process), process.pid, () => process.kill())
  }

  /** A process of this case alone. */
  #process(domid: number): WorldProcess {
    const kind = domid === DOMID ? this.kind : 'pv'
    const process = this.#world.domain(domid, { kind }).process()
    this.#disposables.push(process)
    return process
  }
}
