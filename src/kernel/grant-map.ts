import type { DeviceName } from '../abi/devices.ts'
import { UNMAP_NOTIFY_CLEAR_BYTE, UNMAP_NOTIFY_SEND_EVENT } from '../abi/gntalloc.ts'
import {
  GNTMAP_APPLICATION_MAP,
  GNTMAP_CONTAINS_PTE,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GNTST,
} from '../abi/grant-table.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { frameRuns } from '../hypervisor/frame-runs.ts'
import { mapGrant, mapRun, unmapGrant, unmapRun } from '../hypervisor/grant-mapping.ts'
import type { MapRun } from '../hypervisor/grant-table.ts'
import { type Frame, type FrameRun, NO_FRAME } from '../hypervisor/page-store.ts'
import type { Domain } from './domain.ts'
import { Spare } from './spare.ts'
import { clearsByte, fireEvent, releasePort } from './unmap-notify.ts'
import type { PageBacking } from './vma.ts'

const DOMID_MASK = 0xffff
const NO_HANDLE = -1
const NO_PAGES = new Int32Array(0)
const NO_ELEMENTS = new Uint32Array(0)
const sparePages = new Spare<Int32Array>(length => new Int32Array(length))
const spareElements = new Spare<Uint32Array>(length => new Uint32Array(length))
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
  /** domid, ref, domid, ref …; none once it is over. */
  #elements: Uint32Array
  readonly #domain: Domain
  readonly #isPv: boolean
  #users = 1
  /** Pieces of its mappings. */
  #pieces = 0
  #isUsed = false
  #isReadonly = false
  /** How often a page is mapped: PV has a page table entry for the user and one for itself. */
  readonly #times: 1 | 2
  /** By page, once mapped: so many handles, and its frame; -1 for none of these. */
  #pages: Int32Array = NO_PAGES
  #liveGrants = 0
  #action = 0
  #offset = 0
  #port = 0

  /** `elements`, domid and ref for each page, are copied: they are good for now only. */
  constructor(domain: Domain, start: number, elements: Uint32Array) {
    this.#domain = domain
    this.#isPv = domain.kind === 'pv'
    this.#times = this.#isPv ? 2 : 1
    this.start = start
    this.count = elements.length / 2
    this.#elements = spareElements.take(elements.length)
    this.#elements.set(elements)
    domain.usage.maps++
    domain.usage.mapPages += this.count
  }

  get isWritable(): boolean {
    return !this.#isReadonly
  }

  /** PV sets VM_DONTCOPY: a page table entry of a grant cannot be copied (case 127). */
  get isInherited(): boolean {
    return !this.#isPv && this.#domain.profile.inheritsMappings
  }

  get isEnteredByXen(): boolean {
    return this.#isPv
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

  /** Whether any of the grants is of domain `domid`. */
  names(domid: number): boolean {
    for (let page = 0; page < this.count; page++) {
      if (this.grant(page).domid === domid) return true
    }
    return false
  }

  frame(page: number): Frame {
    return this.#pages[(this.#times + 1) * (page + 1) - 1] ?? NO_FRAME
  }

  frames(first: number, count: number): FrameRun[] {
    const pages = this.#pages
    const step = this.#times + 1
    // Before the first mmap there are no pages.
    if (pages.length === 0) return [{ first: NO_FRAME, count }]
    return frameRuns(pages, count, step * (first + 1) - 1, step)
  }

  isForeign(page: number): boolean {
    return this.grant(page).domid !== this.#domain.domid
  }

  /**
   * Marks the map as mmapped: false when it was before, which spends it for ever (case 106). Before
   * that was so, PV wanted the mapping before to be gone, and what the first one was for stayed.
   */
  use(writable: boolean): boolean {
    if (this.#isUsed) {
      if (this.#domain.profile.mapsOnce) return false
      if (this.#isPv && this.#pieces > 0) return false
      if (writable && this.#isReadonly) return false
    } else this.#isReadonly = !writable
    this.#isUsed = true
    this.opened()
    return true
  }

  /**
   * Maps all pages, or answers the first refusal: a PV kernel then takes the good ones back at
   * once, an HVM one leaves them until users 0 (section 2.4; cases 120, 290).
   */
  map(): MapRefusal | undefined {
    // Only HVM can come here again with its pages mapped: the new mapping shows the same.
    if (this.isMapped) return undefined
    let refusal: MapRefusal | undefined
    this.#pages = sparePages.take((this.#times + 1) * this.count).fill(NO_HANDLE)
    for (let page = 0; page < this.count; ) {
      const mapped = this.#mapRun(page)
      this.#liveGrants += mapped
      page += mapped
      if (mapped > 0) continue
      const status = this.#mapPage(page)
      if (status === GNTST.okay) this.#liveGrants++
      else refusal ??= { gntst: status, ...this.grant(page) }
      page++
    }
    if (!refusal) return undefined
    if (this.#isPv) this.#unmapRange(0, this.count)
    this.closed()
    return refusal
  }

  opened(): void {
    this.#pieces++
    this.#users++
  }

  closed(): void {
    this.#pieces--
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
    const domain = this.#domain
    domain.usage.maps--
    domain.usage.mapPages -= this.count
    if (!domain.profile.clearsByteFirst) this.#fireEvent()
    if (!this.#isPv) this.#unmapRange(0, this.count)
    this.#fireEvent()
    sparePages.put(this.#pages)
    this.#pages = NO_PAGES
    spareElements.put(this.#elements)
    this.#elements = NO_ELEMENTS
  }

  /** Arms or disarms; the reference to the new port is already taken, the old one goes here. */
  setNotify(action: number, offset: number, port: number): void {
    releasePort(this.#domain, this.#action, this.#port)
    this.#action = action
    this.#offset = offset
    this.#port = port
  }

  #fireEvent(): void {
    fireEvent(this.#domain, this.#action, this.#port)
    this.#action &= ~UNMAP_NOTIFY_SEND_EVENT
  }

  /** Maps pages of one domain from `first` on, as far as none is refused: how many. */
  #mapRun(first: number): number {
    const { hypervisor, xen } = this.#domain
    return mapRun(hypervisor, xen, this.#runFrom(first, this.count)) - first
  }

  /** The pages from `first` on, and below `limit`, that the same domain granted. */
  #runFrom(first: number, limit: number): MapRun {
    const elements = this.#elements
    const domid = (elements[2 * first] as number) & DOMID_MASK
    let end = first + 1
    while (end < limit && ((elements[2 * end] as number) & DOMID_MASK) === domid) end++
    const writable = !this.#isReadonly
    return { domid, elements, first, end, writable, times: this.#times, pages: this.#pages }
  }

  #mapPage(page: number): number {
    const { hypervisor, xen } = this.#domain
    const { domid, ref } = this.grant(page)
    const right = this.#isReadonly ? GNTMAP_READONLY : 0
    const flags = this.#isPv ? USER_PTE : GNTMAP_HOST_MAP
    const handle = mapGrant(hypervisor, xen, domid, ref, flags | right)
    if (handle < 0) return handle
    const at = (this.#times + 1) * page
    if (this.#isPv) {
      const kernel = mapGrant(hypervisor, xen, domid, ref, GNTMAP_HOST_MAP | right)
      if (kernel < 0) {
        unmapGrant(hypervisor, xen, handle)
        return kernel
      }
      this.#pages[at + 1] = kernel
    }
    this.#pages[at] = handle
    this.#pages[at + this.#times] = hypervisor.domain(domid)?.grants.frame(ref) ?? NO_FRAME
    return GNTST.okay
  }

  /** Byte first, then the pages; nothing at all when no grant is live (__unmap_grant_pages). */
  #unmapRange(first: number, count: number): void {
    if (this.#liveGrants === 0) return
    this.#clearByteIn(first, count)
    const { hypervisor, xen } = this.#domain
    for (let page = first; page < first + count; ) {
      const run = this.#runFrom(page, first + count)
      this.#liveGrants -= unmapRun(hypervisor, xen, run)
      page = run.end
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
