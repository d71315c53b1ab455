import type { DeviceName } from '../abi/devices.ts'
import { UNMAP_NOTIFY_CLEAR_BYTE } from '../abi/gntalloc.ts'
import {
  GNTMAP_APPLICATION_MAP,
  GNTMAP_CONTAINS_PTE,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GNTST,
} from '../abi/grant-table.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { mapGrant, unmapGrant } from '../hypervisor/grant-mapping.ts'
import type { Frame } from '../hypervisor/page-store.ts'
import type { Domain } from './domain.ts'
import { clearsByte, fireEvent, releasePort } from './unmap-notify.ts'
import { NO_FRAME, type PageBacking } from './vma.ts'

const DOMID_MASK = 0xffff
const NO_HANDLE = -1
/** The page table entry of the user, which only PV maps by itself. */
const USER_PTE = GNTMAP_HOST_MAP | GNTMAP_APPLICATION_MAP | GNTMAP_CONTAINS_PTE

/** Why a mapping failed: the first page that Xen refused. */
export interface MapRefusal {
  readonly gntst: number
  readonly domid: number
  readonly ref: number
}

/**
 * What one MAP_GRANT_REF made: the grants, their one mapping, and their one notification.
 *
 *      users   1 for the descriptor's list, 1 for each piece of the mapping
 *      PV      pages leave Xen when they leave the page table; the event waits for users 0
 *      HVM     pages leave Xen at users 0, just before the event
 *
 * Source: drivers/xen/gntdev.c, struct gntdev_grant_map; section 2.3.
 */
export class GrantMap implements PageBacking {
  readonly device: DeviceName = 'gntdev'
  /** Page index; where the map lies in its descriptor. */
  readonly start: number
  readonly count: number
  /** domid, ref, domid, ref … */
  readonly #elements: Uint32Array
  readonly #domain: Domain
  readonly #isPv: boolean
  #users = 1
  #isUsed = false
  #isReadonly = false
  /** Handle of the user's mapping of each page; PV holds the kernel's besides. */
  #handles: number[] = []
  #kernelHandles: number[] = []
  #frames: Frame[] = []
  #liveGrants = 0
  #action = 0
  #offset = 0
  #port = 0

  constructor(domain: Domain, start: number, elements: Uint32Array) {
    this.#domain = domain
    this.#isPv = domain.kind === 'pv'
    this.start = start
    this.count = elements.length / 2
    this.#elements = elements
  }

  get isWritable(): boolean {
    return !this.#isReadonly
  }

  /** PV sets VM_DONTCOPY: a page table entry of a grant cannot be copied (case 127). */
  get isInherited(): boolean {
    return !this.#isPv
  }

  /** Whether the map was mapped without PROT_WRITE. */
  get isReadonly(): boolean {
    return this.#isReadonly
  }

  get isMapped(): boolean {
    return this.#liveGrants > 0
  }

  grant(page: number): { domid: number; ref: number } {
    // 32 bits wide in the struct, 16 for the hypervisor (case 128).
    const domid = (this.#elements[2 * page] ?? 0) & DOMID_MASK
    return { domid, ref: this.#elements[2 * page + 1] ?? 0 }
  }

  frame(page: number): Frame {
    return this.#frames[page] ?? NO_FRAME
  }

  isForeign(page: number): boolean {
    return this.grant(page).domid !== this.#domain.domid
  }

  /** Marks the map as mmapped: false when it was before, which spends it for ever (case 106). */
  use(writable: boolean): boolean {
    if (this.#isUsed) return false
    this.#isUsed = true
    this.#isReadonly = !writable
    this.#users++
    return true
  }

  /**
   * Maps all pages, or answers the first refusal: a PV kernel then takes the good ones back at
   * once, an HVM one leaves them until users 0 (section 2.4; cases 120, 290).
   */
  map(): MapRefusal | undefined {
    let refusal: MapRefusal | undefined
    for (let page = 0; page < this.count; page++) {
      const status = this.#mapPage(page)
      if (status === GNTST.okay) this.#liveGrants++
      else refusal ??= { gntst: status, ...this.grant(page) }
    }
    if (!refusal) return undefined
    if (this.#isPv) this.#unmapRange(0, this.count)
    this.put()
    return refusal
  }

  opened(): void {
    this.#users++
  }

  closed(): void {
    this.put()
  }

  /** PV: the notifier of the address space does not ask why the pages go (section 3). */
  revoke(first: number, count: number): void {
    if (this.#isPv) this.#unmapRange(first, count)
  }

  /** One user less (gntdev_put_map). */
  put(): void {
    this.#users--
    if (this.#users > 0) return
    if (!this.#isPv) this.#unmapRange(0, this.count)
    fireEvent(this.#domain.ports, this.#action, this.#port)
    this.#action = 0
  }

  /** Arms or disarms; the reference to the new port is already taken, the old one goes here. */
  setNotify(action: number, offset: number, port: number): void {
    releasePort(this.#domain.ports, this.#action, this.#port)
    this.#action = action
    this.#offset = offset
    this.#port = port
  }

  #mapPage(page: number): number {
    const { hypervisor, xen } = this.#domain
    // 32 bits wide in the struct, 16 for the hypervisor (case 128).
    const domid = (this.#elements[2 * page] ?? 0) & DOMID_MASK
    const ref = this.#elements[2 * page + 1] ?? 0
    const right = this.#isReadonly ? GNTMAP_READONLY : 0
    const flags = this.#isPv ? USER_PTE : GNTMAP_HOST_MAP
    const handle = mapGrant(hypervisor, xen, domid, ref, flags | right)
    this.#handles[page] = handle < 0 ? NO_HANDLE : handle
    if (handle < 0) return handle
    if (this.#isPv) {
      const kernel = mapGrant(hypervisor, xen, domid, ref, GNTMAP_HOST_MAP | right)
      if (kernel < 0) {
        unmapGrant(hypervisor, xen, handle)
        this.#handles[page] = NO_HANDLE
        return kernel
      }
      this.#kernelHandles[page] = kernel
    }
    this.#frames[page] = hypervisor.domain(domid)?.grants.frame(ref) ?? NO_FRAME
    return GNTST.okay
  }

  /** Byte first, then the pages; nothing at all when no grant is live (__unmap_grant_pages). */
  #unmapRange(first: number, count: number): void {
    if (this.#liveGrants === 0) return
    this.#clearByteIn(first, count)
    const { hypervisor, xen } = this.#domain
    for (let page = first; page < first + count; page++) {
      const handle = this.#handles[page] ?? NO_HANDLE
      if (handle === NO_HANDLE) continue
      unmapGrant(hypervisor, xen, handle)
      if (this.#isPv) unmapGrant(hypervisor, xen, this.#kernelHandles[page] ?? NO_HANDLE)
      this.#handles[page] = NO_HANDLE
      this.#frames[page] = NO_FRAME
      this.#liveGrants--
    }
  }

  #clearByteIn(first: number, count: number): void {
    if (!clearsByte(this.#action)) return
    const page = Math.floor(this.#offset / PAGE_SIZE)
    if (page < first || page >= first + count) return
    this.#action &= ~UNMAP_NOTIFY_CLEAR_BYTE
    const frame = this.frame(page)
    // A byte armed before a read-only mapping: HVM discards the store (case 323); PV would die of
    // it (case 307), which is not copied.
    if (frame === NO_FRAME || this.#isReadonly) return
    this.#domain.hypervisor.pages.clearByte(frame, this.#offset % PAGE_SIZE)
  }
}
