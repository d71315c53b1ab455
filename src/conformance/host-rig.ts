import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { entryPoint } from '../base/entry-point.ts'
import { type DomainSeen, giveOrder } from '../host/index.ts'
import {
  DEFAULT_PROFILE,
  type KernelProfile,
  PROFILES,
  type ProfileName,
} from '../kernel/profiles.ts'
import type { Capability, LimitName } from '../platform.ts'
import { type HostMachine, startHost } from '../start-host.ts'
import { ChildPuppet } from './child-puppet.ts'
import type { Puppet } from './puppet.ts'
import { PuppetPool } from './puppet-pool.ts'
import type { Rig, RigDomain, RigPeer } from './rig.ts'
import type { RigOptions } from './rigs.ts'

const DOMID = 1
/** Of the other side of grants, where there is one. */
const PEER_DOMID = 2
const CAPABILITIES: ReadonlySet<Capability> = new Set(['two-domains'])
const WATCHDOG_MS = 10_000
/** How long the host may take to notice that a process is gone: it is told at once. */
const RELEASED_WITHIN_MS = 10_000
/** Frees what was still mapped when it was deallocated: ten entries a second. */
const DRAIN_MS = 200_000

const PUPPET_MAIN = fileURLToPath(entryPoint(import.meta.url, './puppet-main.js'))
const PUPPET_PLATFORM = entryPoint(import.meta.url, './host-puppet.js').href

/** A host of our own, its drivers' time in our hands, and processes as puppets. */
export async function createHostRig(options: RigOptions = {}): Promise<Rig> {
  const { profile = DEFAULT_PROFILE, kind = 'pv' } = options
  return new HostRig(PROFILES[profile], kind, await startMachine(profile, kind))
}

async function startMachine(kernel: ProfileName, kind: 'pv' | 'hvm'): Promise<HostMachine> {
  const machine = await startHost({ kernel, clock: 'manual' })
  giveOrder(machine.directory, { order: 'domain', domid: DOMID, kind, stays: true })
  return machine
}

class HostRig implements Rig {
  readonly name = 'host'
  readonly kernel: string
  readonly profile: KernelProfile
  readonly kind: 'pv' | 'hvm'
  readonly peer?: RigPeer
  readonly capabilities = CAPABILITIES
  readonly domid = DOMID
  readonly watchdogMs = WATCHDOG_MS
  readonly #pool = new PuppetPool({ start: () => this.#start(DOMID) })
  #machine: HostMachine
  readonly #peerPool = new PuppetPool({ start: () => this.#start(PEER_DOMID) })
  #lastDomid = PEER_DOMID
  /** Other domains of this case, and the puppets in them. */
  #domids: number[] = []
  #guests: ChildPuppet[] = []

  constructor(profile: KernelProfile, kind: 'pv' | 'hvm', machine: HostMachine) {
    this.profile = profile
    this.kind = kind
    if (kind === 'hvm') this.peer = { domid: PEER_DOMID, puppet: () => this.#peerPool.kept(0) }
    this.kernel = profile.release
    this.#machine = machine
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
    return {
      domid,
      puppet: async () => {
        const puppet = await this.#start(domid)
        this.#guests.push(puppet)
        return puppet
      },
      destroy: () => this.#machine.destroy(domid),
    }
  }

  async getLimit(name: LimitName): Promise<number> {
    // The domain is there once a process of it is.
    await this.puppet(0)
    const { domains } = await this.#machine.status()
    const limit = domains.find(one => one.domid === DOMID)?.limits[name]
    if (limit === undefined) throw new Error(`the host tells no ${name}`)
    return limit
  }

  async setLimit(name: LimitName, pages: number): Promise<void> {
    await this.puppet(0)
    await this.#machine.setLimit(DOMID, name, pages)
  }

  settle(ms: number): Promise<void> {
    return this.#machine.advance(ms)
  }

  async clean(): Promise<void> {
    const guests = this.#guests.splice(0)
    const domids = new Set(this.#domids.splice(0))
    try {
      for (const puppet of guests) await puppet.kill()
      await this.#pool.reset()
      await this.#peerPool.reset()
      const { domains } = await this.#machine.status()
      for (const { domid } of domains) if (domids.has(domid)) await this.#machine.destroy(domid)
      await this.#machine.advance(DRAIN_MS)
      await this.#machine.assertEmpty()
      if (this.#hasLostPages()) await this.#renew()
    } catch (error) {
      await this.#renew()
      throw error
    }
  }

  async close(): Promise<void> {
    for (const puppet of this.#guests.splice(0)) await puppet.kill()
    await this.#pool.close()
    await this.#peerPool.close()
    await this.#machine.close()
  }

  /** What a case has left behind must not fail the next. */
  async #renew(): Promise<void> {
    await this.close()
    this.#machine = await startMachine(this.profile.name, this.kind)
  }

  /** A kernel may count pages for ever that every program has given back. */
  #hasLostPages(): boolean {
    const seen = giveOrder(this.#machine.directory, { order: 'inspect' }) as DomainSeen[]
    return seen.some(({ limits }) =>
      limits.some(one => one.name === 'gntalloc.limit' && one.used !== 0),
    )
  }

  #start(domid: number): Promise<ChildPuppet> {
    const machine = this.#machine
    return ChildPuppet.start({
      command: [process.execPath, PUPPET_MAIN, PUPPET_PLATFORM],
      env: machine.env(domid),
      released: pid => released(machine, pid),
    })
  }
}

/** Resolves once no domain has the process any more. */
async function released(machine: HostMachine, pid: number): Promise<void> {
  const end = performance.now() + RELEASED_WITHIN_MS
  for (;;) {
    const { domains } = await machine.status()
    if (!domains.some(({ pids }) => pids.includes(pid))) return
    if (performance.now() > end) throw new Error(`the host has not noticed that ${pid} is gone`)
    await setImmediate()
  }
}
