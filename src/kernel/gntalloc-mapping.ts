import type { DeviceName } from '../abi/devices.ts'
import { FrameRuns } from '../hypervisor/frame-runs.ts'
import type { Refs } from '../hypervisor/grant-table.ts'
import { type Frame, type FrameRun, NO_FRAME } from '../hypervisor/page-store.ts'
import type { Domain } from './domain.ts'
import type { PageBacking } from './vma.ts'

/**
 * One mmap of a gntalloc descriptor: one user of each of its pages, however often it is split or
 * forked, until its last piece is gone (gntalloc_vma_private_data; cases 57, 246).
 */
export class GntallocMapping implements PageBacking {
  readonly device: DeviceName = 'gntalloc'
  /** The owner may always write, whatever the grant says (case 30). */
  readonly isWritable = true
  readonly isInherited: boolean
  readonly isEnteredByXen = false
  readonly #domain: Domain
  readonly #refs: Refs
  #pieces = 1

  constructor(domain: Domain, refs: Refs) {
    this.#domain = domain
    this.isInherited = domain.profile.inheritsMappings
    this.#refs = refs
    domain.grefs.hold(refs)
  }

  frame(page: number): Frame {
    const ref = this.#refs[page]
    return ref === undefined ? NO_FRAME : this.#domain.xen.grants.frame(ref)
  }

  frames(first: number, count: number): FrameRun[] {
    const runs = new FrameRuns()
    for (let page = first; page < first + count; page++) runs.add(this.frame(page))
    return runs.all
  }

  isForeign(): boolean {
    return false
  }

  opened(): void {
    this.#pieces++
  }

  closed(): void {
    this.#pieces--
    if (this.#pieces > 0) return
    const { grefs, profile } = this.#domain
    // The driver of 2011 remembers the first page of a mapping alone.
    const released = profile.releasesEveryPage ? this.#refs : this.#refs.slice(0, 1)
    grefs.drop(released)
    for (const ref of this.#refs.slice(released.length)) grefs.lose(ref)
  }
}
