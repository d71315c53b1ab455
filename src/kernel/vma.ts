import type { DeviceName } from '../abi/devices.ts'
import { PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Frame } from '../hypervisor/page-store.ts'
import type { OpenFile } from './open-file.ts'

/** A page that the kernel has taken out of a mapping: an access to it is SIGBUS. */
export const NO_FRAME: Frame = -1

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
  /** The frame of a page of the mapping, or {@link NO_FRAME}. */
  frame(page: number): Frame
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
  firstPage: number

  constructor(fields: VmaFields) {
    this.start = fields.start
    this.end = fields.end
    this.prot = fields.prot
    this.shared = fields.shared
    this.mayWrite = fields.mayWrite
    this.file = fields.file
    this.backing = fields.backing
    this.firstPage = fields.firstPage
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

  /** Per page its frame, or {@link NO_FRAME}; empty for anonymous memory. */
  get frames(): Frame[] {
    const { backing } = this
    if (!backing) return []
    const frames: Frame[] = []
    const end = this.firstPage + this.length / PAGE_SIZE
    for (let page = this.firstPage; page < end; page++) frames.push(backing.frame(page))
    return frames
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
}
