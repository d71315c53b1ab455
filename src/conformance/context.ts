import type { DeviceName } from '../abi/devices.ts'
import { PROT_NONE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { KernelProfile } from '../kernel/profiles.ts'
import type { Capability, LimitName } from '../platform.ts'
import { Channel, Evtchn, QUIET_MS } from './evtchn.ts'
import { Gntalloc } from './gntalloc.ts'
import { Gntdev } from './gntdev.ts'
import { untilLastDeferred } from './last-deferred.ts'
import type { OpenedFacts, OpenedOptions } from './opened.ts'
import type { Puppet } from './puppet.ts'
import { Region } from './region.ts'
import type { Rig, RigDomain } from './rig.ts'
import { ok } from './verdict.ts'

/**
 * A free grant entry is reused and a peer's map of it refused once the kernel's timer freed it:
 * every second, so that after this long it has.
 */
const DEFERRED_FREE_MS = 2000

/** What a case works with: written `t` in the cases. */
export class CaseContext {
  readonly #rig: Rig
  readonly #limits = new Map<LimitName, number>()

  constructor(rig: Rig) {
    this.#rig = rig
  }

  /** Our own domain. */
  get domid(): number {
    return this.#rig.domid
  }

  /** What holds on this kernel where kernels differ. */
  get profile(): KernelProfile {
    return this.#rig.profile
  }

  /** How our domain's kernel maps grants. */
  get kind(): 'pv' | 'hvm' {
    return this.#rig.kind
  }

  /** The domain that maps what ours grants and grants what ours maps: ours itself in PV. */
  get peerDomid(): number {
    return this.#rig.peer?.domid ?? this.domid
  }

  has(capability: Capability): boolean {
    return capability === this.kind || this.#rig.capabilities.has(capability)
  }

  /** A process of our domain: 0 is where everything happens unless a case says `on`. */
  puppet(n = 0): Promise<Puppet> {
    return this.#rig.puppet(n)
  }

  /** A process of our domain that the case may kill. */
  disposable(): Promise<Puppet> {
    return this.#rig.disposable()
  }

  /**
   * A process that the case may kill and that can do more than the seam says; only in a case for
   * `fork`, `signal`, `fault` or `remap`.
   */
  able(): Promise<Puppet> {
    if (!this.#rig.able) throw new Error(`${this.#rig.name} has no such puppet`)
    return this.#rig.able()
  }

  /** A second domain; only in a case for `two-domains`. */
  otherDomain(): Promise<RigDomain> {
    if (!this.#rig.otherDomain) throw new Error(`${this.#rig.name} has no second domain`)
    return this.#rig.otherDomain()
  }

  async gntalloc(options: OpenedOptions = {}): Promise<Gntalloc> {
    return new Gntalloc(await this.#open('gntalloc', options))
  }

  /** gntalloc of the peer: our gntdev can map what it grants. */
  async peerGntalloc(): Promise<Gntalloc> {
    return new Gntalloc(await this.#openAtPeer('gntalloc'))
  }

  async gntdev(options: OpenedOptions = {}): Promise<Gntdev> {
    return new Gntdev(await this.#open('gntdev', options))
  }

  /** gntdev of the peer: it can map what our gntalloc grants. */
  async peerGntdev(): Promise<Gntdev> {
    return new Gntdev(await this.#openAtPeer('gntdev'))
  }

  async evtchn(options: OpenedOptions = {}): Promise<Evtchn> {
    return new Evtchn(await this.#open('evtchn', options))
  }

  /** A loopback channel between two descriptors, new ones unless given. */
  async channel(near?: Evtchn, far?: Evtchn): Promise<Channel> {
    return Channel.connect(near ?? (await this.evtchn()), far ?? (await this.evtchn()))
  }

  /** Zeroed plain memory of a puppet. */
  async memory(pages = 1, on?: Puppet): Promise<Region> {
    const puppet = on ?? (await this.puppet())
    return new Region(puppet, await ok(puppet.alloc(pages * PAGE_SIZE)), pages)
  }

  /** Two pages of which the second cannot be touched: a buffer at the end of the first runs out. */
  async memoryWithGap(): Promise<Region> {
    const region = await this.memory(2)
    await ok(region.part(1, 1).protect(PROT_NONE))
    return region
  }

  limit(name: LimitName): Promise<number> {
    return this.#rig.getLimit(name)
  }

  /** Sets a limit for the rest of the case. */
  async setLimit(name: LimitName, pages: number): Promise<void> {
    if (!this.#limits.has(name)) this.#limits.set(name, await this.#rig.getLimit(name))
    await this.#rig.setLimit(name, pages)
  }

  settle(ms: number): Promise<void> {
    return this.#rig.settle(ms)
  }

  /** Lets whatever was sent arrive, so that one read finds it all. */
  settleEvents(): Promise<void> {
    return this.#rig.settle(QUIET_MS)
  }

  /** Lets the kernel free the grants that were still mapped when they were deallocated. */
  async settleDeferred(): Promise<void> {
    if (this.#rig.isTimeOurs) return this.#rig.settle(DEFERRED_FREE_MS)
    await untilLastDeferred(await this.gntalloc(), await this.gntdev(), await this.memory())
  }

  /** The runner's: puts the limits back. */
  async restore(): Promise<void> {
    for (const [name, pages] of this.#limits) await this.#rig.setLimit(name, pages)
  }

  async #open(name: DeviceName, options: OpenedOptions): Promise<OpenedFacts> {
    const puppet = options.on ?? (await this.puppet())
    const fd = await ok(
      puppet.open(name, {
        access: options.access ?? 'readwrite',
        nonblock: !options.blocking,
      }),
    )
    const { domid, watchdogMs } = this.#rig
    const grantee = this.peerDomid
    return { puppet, fd, name, domid, grantee, watchdogMs, settle: ms => this.#rig.settle(ms) }
  }

  async #openAtPeer(name: DeviceName): Promise<OpenedFacts> {
    const { peer, domid: grantee } = this.#rig
    if (!peer) return this.#open(name, {})
    return { ...(await this.#open(name, { on: await peer.puppet() })), domid: peer.domid, grantee }
  }
}
