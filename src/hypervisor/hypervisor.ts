import { RESERVED_REFS } from '../abi/grant-table.ts'
import { closeChannel } from './channel-calls.ts'
import { unmapGrant } from './grant-mapping.ts'
import type { HypervisorLimits } from './limits.ts'
import type { PageStore } from './page-store.ts'
import { type GuestPorts, XenDomain } from './xen-domain.ts'

/**
 * The hypervisor of one simulated machine: its domains, and the memory they have. The hypercalls
 * are functions of this room: grant-mapping.ts, grant-copy.ts, channel-calls.ts.
 */
export class Hypervisor {
  readonly pages: PageStore
  readonly #domains = new Map<number, XenDomain>()
  /** The domain that was asked for last: a call about many pages asks for the same each time. */
  #latest: XenDomain | undefined

  constructor(pages: PageStore) {
    this.pages = pages
  }

  /** A living domain or a zombie. */
  domain(domid: number): XenDomain | undefined {
    if (this.#latest?.domid !== domid) this.#latest = this.#domains.get(domid)
    return this.#latest
  }

  createDomain(
    domid: number,
    kind: 'pv' | 'hvm',
    limits: HypervisorLimits,
    guest: GuestPorts,
  ): XenDomain {
    const domain = new XenDomain(domid, kind, limits, guest)
    this.#domains.set(domid, domain)
    this.#latest = domain
    return domain
  }

  /**
   * Kills a domain: its channels close, its pins drop, its pages go. It stays as a zombie while
   * others map any of them (section 5.3, case 320).
   */
  destroyDomain(domain: XenDomain): void {
    domain.isDying = true
    for (const port of [...domain.channels.ports()]) closeChannel(this, domain, port)
    // Its own grants first, so that pages which it mapped of itself do not count as pinned.
    for (const handle of [...domain.maptrack.handles()]) unmapGrant(this, domain, handle)
    const { grants } = domain
    for (let ref = RESERVED_REFS; ref < grants.size; ref++) {
      if (!grants.isGranted(ref)) continue
      if (grants.pins(ref) > 0) domain.pinnedPages++
      else this.#reclaim(domain, ref)
    }
    this.#bury(domain)
  }

  /** A pin of a zombie's page dropped: the page goes with the last one, and the zombie with it. */
  unpinned(domain: XenDomain, ref: number): void {
    if (!domain.isDying || domain.pinnedPages === 0 || domain.grants.pins(ref) > 0) return
    this.#reclaim(domain, ref)
    domain.pinnedPages--
    this.#bury(domain)
  }

  #reclaim(domain: XenDomain, ref: number): void {
    const frame = domain.grants.frame(ref)
    domain.grants.end(ref)
    this.pages.free(frame, 1)
  }

  #bury(domain: XenDomain): void {
    if (domain.pinnedPages > 0) return
    this.#domains.delete(domain.domid)
    this.#latest = undefined
  }
}
