import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { release } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { encodeAllocGref, GNTALLOC_ALLOC_GREF } from '../abi/gntalloc.ts'
import { entryPoint } from '../base/entry-point.ts'
import { type KernelProfile, PROFILES, type ProfileName } from '../kernel/profiles.ts'
import { linux } from '../linux/linux.ts'
import type { Capability, LimitName, Platform } from '../platform.ts'
import { C_PUPPET_VARIABLE, startCPuppet } from './c-puppet.ts'
import { ChildPuppet } from './child-puppet.ts'
import { LocalPuppet } from './local-puppet.ts'
import type { Puppet } from './puppet.ts'
import { PuppetPool } from './puppet-pool.ts'
import type { Rig, RigDomain } from './rig.ts'
import { ok } from './verdict.ts'
import { guestsHere, XenGuests } from './xen-guests.ts'

/** An emulated machine may be slow to do what it does in the end. */
const WATCHDOG_MS = 20_000

const PUPPET_MAIN = fileURLToPath(entryPoint(import.meta.url, './puppet-main.js'))
const PUPPET_PLATFORM = entryPoint(import.meta.url, './linux-puppet.js').href

/** What the puppet in C brings. */
const ABILITIES: readonly Capability[] = ['fork', 'signal', 'fault', 'remap']

const PARAMETERS: Readonly<Record<LimitName, string>> = {
  'gntalloc.limit': '/sys/module/xen_gntalloc/parameters/limit',
  'gntdev.limit': '/sys/module/xen_gntdev/parameters/limit',
}

/** An int of the kernel in decimal and a newline. */
const LIMIT_DIGITS = 16

/** The domain of Xen that this process runs in, which must be PV and ours alone. */
export async function createXenRig(profile?: ProfileName): Promise<Rig> {
  const kernel = release()
  const here = profileOf(kernel)
  if (profile && profile !== here) {
    throw new Error(`this domain runs ${kernel}, which is compared as ${here}, not ${profile}`)
  }
  const { INTERDOM_TESTBED_DOMID: domid, [C_PUPPET_VARIABLE]: cPuppet } = process.env
  const platform = linux(domid ? { domid: Number(domid) } : {})
  if (platform.kind !== 'pv') {
    throw new Error('the suite maps grants to its own domain, which destroys pages outside of PV')
  }
  return new XenRig(kernel, PROFILES[here], platform, cPuppet)
}

/** The profile whose kernel is nearest. */
function profileOf(kernel: string): ProfileName {
  const [major = 0, minor = 0] = kernel.split('.').map(Number)
  return major > 6 || (major === 6 && minor >= 12) ? 'linux-6.12' : 'linux-6.1'
}

/** As the hypervisor tells it: `4.17.7`. */
function xenVersion(): string {
  const part = (name: string): string =>
    readFileSync(`/sys/hypervisor/version/${name}`, 'utf8').trim()
  return `${part('major')}.${part('minor')}${part('extra')}`
}

class XenRig implements Rig {
  readonly name = 'xen'
  readonly kernel: string
  readonly profile: KernelProfile
  readonly xen: string = xenVersion()
  readonly kind = 'pv' as const
  readonly capabilities: ReadonlySet<Capability>
  readonly domid: number
  readonly watchdogMs = WATCHDOG_MS
  readonly isTimeOurs = false
  /** Puppet 0: a call is a system call of this process. */
  readonly #own: LocalPuppet
  readonly #pool = new PuppetPool({ start: () => this.#start() })
  readonly #cPuppet: string | undefined
  readonly #guests: XenGuests | undefined
  /** The file of the limit of granted pages, which is read and written after each case. */
  readonly #limit = openSync(PARAMETERS['gntalloc.limit'], 'r+')
  readonly #text = Buffer.alloc(LIMIT_DIGITS)

  constructor(
    kernel: string,
    profile: KernelProfile,
    platform: Platform,
    cPuppet: string | undefined,
  ) {
    this.kernel = kernel
    this.profile = profile
    this.domid = platform.domid
    const guests = cPuppet ? guestsHere() : []
    this.#guests = cPuppet && guests.length > 1 ? new XenGuests(cPuppet, guests) : undefined
    this.capabilities = new Set([
      ...platform.capabilities,
      ...(cPuppet ? ABILITIES : []),
      ...(this.#guests ? (['two-domains'] as const) : []),
    ])
    this.#cPuppet = cPuppet
    this.#own = new LocalPuppet(platform, process.pid)
  }

  async puppet(n: number): Promise<Puppet> {
    return n === 0 ? this.#own : this.#pool.kept(n - 1)
  }

  disposable(): Promise<Puppet> {
    return this.#pool.disposable()
  }

  able(): Promise<Puppet> {
    if (!this.#cPuppet) throw new Error(`${C_PUPPET_VARIABLE} does not name the puppet in C`)
    return this.#pool.disposable()
  }

  otherDomain(): Promise<RigDomain> {
    if (!this.#guests) throw new Error('dom0 of the test bed has no two guests')
    return this.#guests.take()
  }

  async getLimit(name: LimitName): Promise<number> {
    return Number(await readFile(PARAMETERS[name], 'utf8'))
  }

  async setLimit(name: LimitName, pages: number): Promise<void> {
    await writeFile(PARAMETERS[name], String(pages))
  }

  async settle(ms: number): Promise<void> {
    await setTimeout(ms)
  }

  async clean(): Promise<void> {
    await this.#own.reset()
    await this.#pool.reset()
    await this.#guests?.reset()
    await this.#assertQuotaIsFree()
  }

  async close(): Promise<void> {
    await this.#own.reset()
    await this.#pool.close()
    await this.#guests?.close()
    closeSync(this.#limit)
  }

  /**
   * A page that is still granted by a dead or closed descriptor counts: this much can be seen. With
   * a limit of one page nothing may be left, where an allocation of all pages would take as long as
   * the rest of a case.
   */
  async #assertQuotaIsFree(): Promise<void> {
    const limit = this.#text.subarray(0, readSync(this.#limit, this.#text, 0, LIMIT_DIGITS, 0))
    const argument = encodeAllocGref({ domid: this.domid, flags: 0, count: 1 })
    const fd = await ok(this.#own.open('gntalloc', { access: 'readwrite', nonblock: true }))
    writeSync(this.#limit, '1', 0)
    try {
      const { result } = await this.#own.ioctl(fd, GNTALLOC_ALLOC_GREF, argument)
      if (result < 0) throw new Error(`pages are still granted: ALLOC of the only one is ${result}`)
    } finally {
      writeSync(this.#limit, limit, 0, limit.length, 0)
      await this.#own.close(fd)
    }
  }

  #start(): Promise<ChildPuppet> {
    // When a child's end is known, its kernel has released what it held. One in C starts at once,
    // where a Node takes seconds under emulation; puppet 0 is a Node in any case.
    if (this.#cPuppet) return startCPuppet(this.#cPuppet, this.domid)
    return ChildPuppet.start({
      command: [process.execPath, PUPPET_MAIN, PUPPET_PLATFORM],
      env: { ...process.env, INTERDOM_DOMID: String(this.domid) },
    })
  }
}
