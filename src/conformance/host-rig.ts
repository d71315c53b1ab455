import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { entryPoint } from '../base/entry-point.ts'
import {
  type DomainSeen,
  giveOrder,
  type HostStatus,
  hostEnvironment,
  type Order,
} from '../host/index.ts'
import { DEFAULT_PROFILE, type KernelProfile, PROFILES } from '../kernel/profiles.ts'
import type { Capability, LimitName } from '../platform.ts'
import { startHost } from '../start-host.ts'
import { ChildPuppet } from './child-puppet.ts'
import type { Puppet } from './puppet.ts'
import { PuppetPool } from './puppet-pool.ts'
import type { Rig, RigDomain, RigPeer } from './rig.ts'
import type { RigOptions } from './rigs.ts'

const CAPABILITIES: ReadonlySet<Capability> = new Set(['two-domains'])
const WATCHDOG_MS = 10_000
/** How long the host may take to notice that a process is gone: it is told at once. */
const RELEASED_WITHIN_MS = 10_000
/** Frees what was still mapped when it was deallocated: ten entries a second. */
const DRAIN_MS = 200_000

const PUPPET_MAIN = fileURLToPath(entryPoint(import.meta.url, './puppet-main.js'))
const PUPPET_PLATFORM = entryPoint(import.meta.url, './host-puppet.js').href

/** Where a rig is: a directory of a host whose clock is moved by hand, and which domains it has. */
interface HostPlace {
  readonly directory: string
  /** The domains of the rig are this one and those behind it. */
  readonly firstDomid: number
  close?(): Promise<void>
}

export interface HostRigOptions extends RigOptions {
  /**
   * A host that others use too, and domains that they do not. All who share it share its time, and
   * each moves it on for all: as it goes on by itself on real Xen, no case wants it to stand still.
   */
  readonly shared?: HostPlace
}

/** Processes as puppets, on a host of our own unless one is given, its time in our hands. */
export async function createHostRig(options: HostRigOptions = {}): Promise<Rig> {
  const { profile = DEFAULT_PROFILE, kind = 'pv', shared } = options
  const open = shared ? async () => shared : ownHost
  return new HostRig(PROFILES[profile], kind, open, await open())
}

async function ownHost(): Promise<HostPlace> {
  const machine = await startHost({ clock: 'manual' })
  return { directory: machine.directory, firstDomid: 1, close: () => machine.close() }
}

class HostRig implements Rig {
  readonly name = 'host'
  readonly kernel: string
  readonly profile: KernelProfile
  readonly kind: 'pv' | 'hvm'
  readonly peer?: RigPeer
  readonly capabilities = CAPABILITIES
  readonly domid: number
  readonly watchdogMs = WATCHDOG_MS
  readonly isTimeOurs = true
  readonly #pool = new PuppetPool({ start: () => this.#start(this.domid) })
  /** Of the other side of grants, where there is one. */
  readonly #peerDomid: number
  readonly #peerPool = new PuppetPool({ start: () => this.#start(this.#peerDomid) })
  readonly #open: () => Promise<HostPlace>
  #place: HostPlace
  #lastDomid: number
  /** Other domains of this case, and the puppets in them. */
  #domids: number[] = []
  #guests: ChildPuppet[] = []

  constructor(
    profile: KernelProfile,
    kind: 'pv' | 'hvm',
    open: () => Promise<HostPlace>,
    place: HostPlace,
  ) {
    this.profile = profile
    this.kind = kind
    this.kernel = profile.release
    this.#open = open
    this.#place = place
    this.domid = place.firstDomid
    this.#peerDomid = this.domid + 1
    this.#lastDomid = this.#peerDomid
    if (kind === 'hvm') {
      this.peer = { domid: this.#peerDomid, puppet: () => this.#peerPool.kept(0) }
    }
    this.#makeDomains()
  }

  puppet(n: number): Promise<Puppet> {
    return this.#pool.kept(n)
  }

  disposable(): Promise<Puppet> {
    return this.#pool.disposable()
  }

  async otherDomain(): Promise<RigDomain> {
    const domid = ++this.#lastDomid
    this.#domids.push(domid)
    // As on Xen, it does not go with its last process.
    this.#order({ order: 'domain', domid, kernel: this.profile.name, stays: true })
    return {
      domid,
      puppet: async () => {
        const puppet = await this.#start(domid)
        this.#guests.push(puppet)
        return puppet
      },
      destroy: async () => {
        this.#order({ order: 'destroy', domid })
      },
    }
  }

  async getLimit(name: LimitName): Promise<number> {
    const { domains } = this.#status()
    const limit = domains.find(one => one.domid === this.domid)?.limits[name]
    if (limit === undefined) throw new Error(`the host tells no ${name}`)
    return limit
  }

  async setLimit(limit: LimitName, value: number): Promise<void> {
    this.#order({ order: 'set', domid: this.domid, limit, value })
  }

  async settle(ms: number): Promise<void> {
    this.#order({ order: 'advance', ms })
  }

  async clean(): Promise<void> {
    const guests = this.#guests.splice(0)
    const domids = new Set(this.#domids.splice(0))
    try {
      for (const puppet of guests) await puppet.kill()
      await this.#pool.reset()
      await this.#peerPool.reset()
      for (const { domid } of this.#status().domains) {
        if (domids.has(domid)) this.#order({ order: 'destroy', domid })
      }
      await this.settle(DRAIN_MS)
      this.#assertEmpty()
      if (this.#hasLostPages()) await this.#renewDomains()
    } catch (error) {
      await this.#renew()
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#killPuppets()
    if (this.#place.close) await this.#place.close()
    else this.#destroyDomains()
  }

  /** What a case has left behind must not fail the next. */
  async #renew(): Promise<void> {
    await this.close()
    this.#place = await this.#open()
    this.#makeDomains()
  }

  async #renewDomains(): Promise<void> {
    await this.#killPuppets()
    this.#destroyDomains()
    this.#makeDomains()
  }

  async #killPuppets(): Promise<void> {
    for (const puppet of this.#guests.splice(0)) await puppet.kill()
    await this.#pool.close()
    await this.#peerPool.close()
  }

  #makeDomains(): void {
    const { profile, kind, domid } = this
    const kernel = profile.name
    this.#order({ order: 'domain', domid, kind, kernel, stays: true })
    if (this.peer) this.#order({ order: 'domain', domid: this.#peerDomid, kernel, stays: true })
  }

  #destroyDomains(): void {
    for (const { domid } of this.#status().domains) {
      if (this.#isOurs(domid)) this.#order({ order: 'destroy', domid })
    }
  }

  #isOurs(domid: number): boolean {
    return domid >= this.domid && domid <= this.#lastDomid
  }

  #assertEmpty(): void {
    const all = this.#order({ order: 'leftovers' }) as string[]
    // "domain 3: port 7 bound"
    const ours = all.filter(line => this.#isOurs(Number(/^domain (\d+):/.exec(line)?.[1])))
    if (ours.length > 0) throw new Error(`the host is not empty:\n  ${ours.join('\n  ')}`)
  }

  /** A kernel may count pages for ever that every program has given back. */
  #hasLostPages(): boolean {
    const seen = this.#order({ order: 'inspect' }) as DomainSeen[]
    return seen
      .filter(({ domid }) => this.#isOurs(domid))
      .some(({ limits }) => limits.some(one => one.name === 'gntalloc.limit' && one.used !== 0))
  }

  #order(order: Order): unknown {
    return giveOrder(this.#place.directory, order)
  }

  #status(): HostStatus {
    return this.#order({ order: 'status' }) as HostStatus
  }

  #start(domid: number): Promise<ChildPuppet> {
    return ChildPuppet.start({
      command: [process.execPath, PUPPET_MAIN, PUPPET_PLATFORM],
      env: hostEnvironment(this.#place.directory, domid),
      released: pid => this.#released(pid),
    })
  }

  /** Resolves once no domain has the process any more. */
  async #released(pid: number): Promise<void> {
    const end = performance.now() + RELEASED_WITHIN_MS
    for (;;) {
      if (!this.#status().domains.some(({ pids }) => pids.includes(pid))) return
      if (performance.now() > end) throw new Error(`the host has not noticed that ${pid} is gone`)
      await setImmediate()
    }
  }
}
