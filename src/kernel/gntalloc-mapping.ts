import type { DeviceName } from '../abi/devices.ts'
import { frameRuns } from '../hypervisor/frame-runs.ts'
import type { Refs } from '../hypervisor/grant-table.ts'
import { type Frame, type FrameRun, NO_FRAME } from '../hypervisor/page-store.ts'
import type { Domain } from './domain.ts'
import { Spare } from './spare.ts'
import type { PageBacking } from './vma.ts'

const NO_REFS: Refs = new Uint32Array(0)
const spare = new Spare<Refs>(length => new Uint32Array(length))

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
  /** None once the last piece is gone. */
  #refs: Refs
  #pieces = 1

  /** `refs` are copied: they are good for now only. */
  constructor(domain: Domain, refs: Refs) {
    this.#domain = domain
    this.isInherited = domain.profile.inheritsMappings
    this.#refs = spare.take(refs.length)
    this.#refs.set(refs)
    domain.grefs.hold(refs)
  }

  frame(page: number): Frame {
    const ref = this.#refs[page]
    return ref === undefined ? NO_FRAME : this.#domain.xen.grants.frame(ref)
  }

  frames(first: number, count: number): FrameRun[] {
    const refs = this.#refs.subarray(first, first + count)
    return frameRuns(this.#domain.xen.grants.readFrames(refs), refs.length)
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
    const refs = this.#refs
    this.#refs = NO_REFS
    // The driver of 2011 remembers the first page of a mapping alone.
    const released = profile.releasesEveryPage ? refs : refs.subarray(0, 1)
    grefs.drop(released)
    for (const ref of refs.subarray(released.length)) grefs.lose(ref)
    spare.put(refs)
  }
}
