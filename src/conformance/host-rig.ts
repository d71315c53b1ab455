import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { entryPoint } from '../base/entry-point.ts'
import { DEFAULT_PROFILE, PROFILES } from '../kernel/profiles.ts'
import type { Capability, LimitName } from '../platform.ts'
import { type HostMachine, startHost } from '../start-host.ts'
import { ChildPuppet } from './child-puppet.ts'
import type { Puppet } from './puppet.ts'
import { PuppetPool } from './puppet-pool.ts'
import type { ProfileName, Rig, RigDomain } from './rig.ts'

const DOMID = 1
const CAPABILITIES: ReadonlySet<Capability> = new Set(['two-domains'])
const WATCHDOG_MS = 10_000
/** How long the host may take to notice that a process is gone: it is told at once. */
const RELEASED_WITHIN_MS = 10_000
/** Frees what was still mapped when it was deallocated: ten entries a second. */
const DRAIN_MS = 200_000

const PUPPET_MAIN = fileURLToPath(entryPoint(import.meta.url, './puppet-main.js'))
const PUPPET_PLATFORM = entryPoint(import.meta.url, './host-puppet.js').href

/** A host of our own, its drivers' time in our hands, and processes as puppets. */
export async function createHostRig(profile: ProfileName = DEFAULT_PROFILE): Promise<Rig> {
  return new HostRig(profile, await startMachine(profile))
}

const startMachine = (kernel: ProfileName): Promise<HostMachine> =>
  startHost({ kernel, clock: 'manual' })

class HostRig implements Rig {
  readonly name = 'host'
  readonly kernel: string
  readonly profile: ProfileName
  readonly capabilities = CAPABILITIES
  readonly domid = DOMID
  readonly watchdogMs = WATCHDOG_MS
  readonly #pool = new PuppetPool({ start: () => this.#start(DOMID) })
  #machine: HostMachine
  #lastDomid = DOMID
  /** Other domains of this case, and the puppets in them. */
  #domids: number[] = []
  #guests: ChildPuppet[] = []

  constructor(profile: ProfileName, machine: HostMachine) {
    this.profile = profile
    this.kernel = PROFILES[profile].release
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
      const { domains } = await this.#machine.status()
      for (const { domid } of domains) if (domids.has(domid)) await this.#machine.destroy(domid)
      await this.#machine.advance(DRAIN_MS)
      await this.#machine.assertEmpty()
    } catch (error) {
      await this.#renew()
      throw error
    }
  }

  async close(): Promise<void> {
    for (const puppet of this.#guests.splice(0)) await puppet.kill()
    await this.#pool.close()
    await this.#machine.close()
  }

  /** What a case has left behind must not fail the next. */
  async #renew(): Promise<void> {
    await this.close()
    this.#machine = await startMachine(this.profile)
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
