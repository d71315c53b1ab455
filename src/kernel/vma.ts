import type { DeviceName } from '../abi/devices.ts'
import { isReadable, PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { type Frame, type FrameRun, NO_FRAME } from '../hypervisor/page-store.ts'
import type { OpenFile } from './open-file.ts'

/** The signals that an access to memory can end in. */
export type Fault = 'SIGSEGV' | 'SIGBUS'

/**
 * What a driver hangs on a VMA: the pages behind it and what happens to it. Pieces of one mapping
 * share it. Source: vm_operations_struct and, for `revoke`, mmu_interval_notifier_ops.
 */
export interface PageBacking {
  readonly device: DeviceName
  /** Whether the pages may be stored to, as far as the grant goes. */
  readonly isWritable: boolean
  /** Whether a forked child gets the mapping too (VM_DONTCOPY). */
  readonly isInherited: boolean
  /**
   * Xen makes the page table entries, as for gntdev in PV. It knows readable and writable only, so
   * that PROT_NONE can be read (case 330), and a copy of them hangs the kernel (case 306).
   */
  readonly isEnteredByXen: boolean
  /** The frame of a page of the mapping, or {@link NO_FRAME}, where an access is SIGBUS. */
  frame(page: number): Frame
  /** The same for several in a row, as runs. */
  frames(first: number, count: number): FrameRun[]
  /** Whether the page belongs to another domain. */
  isForeign(page: number): boolean
  /** There is one more piece of it, after a split or a fork. */
  opened(): void
  /** A piece of it is gone. */
  closed(): void
  /** The pages are about to leave the page table, or to change their protection there. */
  revoke?(first: number, count: number): void
}

/** One stretch of a process's address space with one protection. */
export class Vma {
  start: number
  end: number
  /** PROT_* as last set. */
  prot: number
  /** Shared as the kernel sees it: MAP_SHARED on a descriptor that may write. */
  readonly shared: boolean
  /** Whether mprotect may add PROT_WRITE (VM_MAYWRITE). */
  readonly mayWrite: boolean
  /** Undefined for anonymous memory. */
  readonly file: OpenFile | undefined
  readonly backing: PageBacking | undefined
  /** Page of the mapping at which this piece starts. */
  readonly firstPage: number
  /** Whether a forked child gets it: the driver's word, until madvise says otherwise. */
  isInherited: boolean
  /** Its pages were taken out on request, and no driver brings one back (case 247). */
  isEmptied: boolean

  constructor(fields: VmaFields) {
    this.start = fields.start
    this.end = fields.end
    this.prot = fields.prot
    this.shared = fields.shared
    this.mayWrite = fields.mayWrite
    this.file = fields.file
    this.backing = fields.backing
    this.firstPage = fields.firstPage
    this.isInherited = fields.isInherited ?? fields.backing?.isInherited ?? true
    this.isEmptied = fields.isEmptied ?? false
  }

  get length(): number {
    return this.end - this.start
  }

  get device(): DeviceName | undefined {
    return this.backing?.device
  }

  /**
   * Stores are allowed here and lost, without a signal: the grant is mapped read-only, and HVM has
   * Xen's word on that behind its own page table (cases 319, 322).
   */
  get discardsStores(): boolean {
    return (this.prot & PROT_WRITE) !== 0 && this.backing?.isWritable === false
  }

  /** The frames of all pages; none for anonymous memory. */
  get frames(): FrameRun[] {
    return this.framesIn(this.start, this.end)
  }

  /** The frames of a part of its pages. */
  framesIn(start: number, end: number): FrameRun[] {
    if (!this.backing) return []
    const count = (end - start) / PAGE_SIZE
    if (this.isEmptied) return [{ first: NO_FRAME, count }]
    return this.backing.frames(this.pageAt(start), count)
  }

  /** The frame of a page of the mapping, or {@link NO_FRAME}. */
  frame(page: number): Frame {
    return this.isEmptied ? NO_FRAME : (this.backing?.frame(page) ?? NO_FRAME)
  }

  /** The frame at an address of a device's mapping, or {@link NO_FRAME}. */
  frameAt(address: number): Frame {
    return this.frame(this.pageAt(address))
  }

  /** What an access to a byte ends in, unless it is done. */
  fault(address: number, access: 'load' | 'store'): Fault | undefined {
    const isGone = this.backing !== undefined && this.frameAt(address) === NO_FRAME
    const isAllowed =
      access === 'store'
        ? (this.prot & PROT_WRITE) !== 0
        : isReadable(this.prot) || (this.backing?.isEnteredByXen === true && !isGone)
    if (!isAllowed) return 'SIGSEGV'
    return isGone ? 'SIGBUS' : undefined
  }

  /** Page of the mapping in which `address` lies. */
  pageAt(address: number): number {
    return this.firstPage + Math.floor((address - this.start) / PAGE_SIZE)
  }
}

export interface VmaFields {
  readonly start: number
  readonly end: number
  readonly prot: number
  readonly shared: boolean
  readonly mayWrite: boolean
  readonly file: OpenFile | undefined
  readonly backing: PageBacking | undefined
  readonly firstPage: number
  readonly isInherited?: boolean
  readonly isEmptied?: boolean
}
