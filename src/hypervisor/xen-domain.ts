import { EventChannels } from './event-channels.ts'
import { GrantTable } from './grant-table.ts'
import type { HypervisorLimits } from './limits.ts'
import { Maptrack } from './maptrack.ts'

/** What the hypervisor tells the kernel of a domain about its ports. */
export interface GuestPorts {
  /** The port is pending. */
  raised(port: number): void
  /** The other end of an unbound port was bound. */
  connected(port: number, peerDomid: number, peerPort: number): void
  /** The other end was closed: the port is unbound again. */
  disconnected(port: number): void
}

/** A domain as the hypervisor knows it. */
export class XenDomain {
  readonly domid: number
  readonly kind: 'pv' | 'hvm'
  readonly grants: GrantTable
  readonly maptrack: Maptrack
  readonly channels: EventChannels
  readonly guest: GuestPorts
  /** Destroyed, and still here because others have pages of it mapped: a zombie. */
  isDying = false
  /** Pages of a zombie that are still mapped. */
  pinnedPages = 0

  constructor(domid: number, kind: 'pv' | 'hvm', limits: HypervisorLimits, guest: GuestPorts) {
    this.domid = domid
    this.kind = kind
    this.grants = new GrantTable(limits)
    this.maptrack = new Maptrack(limits)
    this.channels = new EventChannels(limits)
    this.guest = guest
  }
}
