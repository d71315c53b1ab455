import { ERRNO } from '../abi/errno.ts'
import { PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Result } from '../platform.ts'
import type { DomainUsage } from './limits.ts'
import type { OpenFile } from './open-file.ts'
import { OrderedSpans } from './ordered-spans.ts'
import { Vma } from './vma.ts'

/**
 * The memory map of a process. Whatever removes pages does so in the kernel's two steps: first the
 * notifiers hear of the whole range, then the pieces are closed, both in ascending order
 * (unmap_vmas, remove_vma; cases 289, 291).
 */
export class AddressSpace {
  readonly #vmas = new OrderedSpans<Vma>()
  readonly #dropped: (file: OpenFile) => void
  readonly #usage: Pick<DomainUsage, 'mappings'>

  /** `dropped` hears of each file when a mapping was its last reference. */
  constructor(dropped: (file: OpenFile) => void, usage: Pick<DomainUsage, 'mappings'>) {
    this.#dropped = dropped
    this.#usage = usage
  }

  get size(): number {
    return this.#vmas.size
  }

  [Symbol.iterator](): Iterator<Vma> {
    return this.#vmas[Symbol.iterator]()
  }

  /** The first VMA that ends above `address`, which may lie below it (find_vma; case 146). */
  find(address: number): Vma | undefined {
    const below = this.#vmas.atOrBelow(address)
    return below && below.end > address ? below : this.#vmas.above(address)
  }

  /** The VMA in which `address` lies. */
  at(address: number): Vma | undefined {
    const below = this.#vmas.atOrBelow(address)
    return below && below.end > address ? below : undefined
  }

  /** How many VMAs a change of this range cuts in two at its edges: so many there are more. */
  cuts(start: number, end: number): number {
    const first = this.at(start)
    const last = this.at(end)
    return (first && first.start < start ? 1 : 0) + (last && last.start < end ? 1 : 0)
  }

  /** Puts a VMA into a range that is free. */
  insert(vma: Vma): void {
    vma.file?.hold()
    this.#vmas.insert(vma)
    this.#usage.mappings++
  }

  /** Gives a VMA the place that it was meant for: what lies there goes. False for none such. */
  place(start: number, end: number, to: number): boolean {
    const vma = this.at(start)
    const last = to + end - start
    if (vma?.start !== start || vma.end !== end || (to < end && start < last)) return false
    this.unmap(to, last)
    this.#vmas.remove(vma)
    vma.start = to
    vma.end = last
    this.#vmas.insert(vma)
    return true
  }

  /** Removes whatever lies in the range, splitting at its edges. */
  unmap(start: number, end: number): void {
    let vma = this.find(start)
    if (!vma || vma.start >= end) return
    const doomed: Vma[] = []
    while (vma && vma.start < end) {
      const piece: Vma = this.#cut(vma, start, end)
      doomed.push(piece)
      vma = this.#vmas.above(piece.start)
    }
    for (const piece of doomed) revoke(piece)
    for (const piece of doomed) this.#close(piece)
  }

  /** mprotect(2): 0, -EACCES or -ENOMEM; what came before the fault stays changed. */
  protect(start: number, end: number, prot: number): number {
    let at = start
    while (at < end) {
      const vma = this.at(at)
      if (!vma) return -ERRNO.ENOMEM
      if ((prot & PROT_WRITE) !== 0 && !vma.mayWrite) return -ERRNO.EACCES
      at = vma.end
      // The same protection changes nothing, and no notifier hears of it (case 250).
      if (vma.prot === prot) continue
      const piece = this.#cut(vma, start, end)
      revoke(piece)
      piece.prot = prot
    }
    return 0
  }

  /**
   * Does something to each piece of the range, as madvise(2): its first refusal, or -ENOMEM when
   * some of the range is not mapped.
   */
  advise(start: number, end: number, advice: (piece: Vma) => Result): Result {
    let result = 0
    for (let at = start; at < end; ) {
      const vma = this.find(at)
      if (!vma || vma.start >= end) return -ERRNO.ENOMEM
      if (vma.start > at) result = -ERRNO.ENOMEM
      const piece = this.#cut(vma, start, end)
      const refusal = advice(piece)
      if (refusal < 0) return refusal
      at = piece.end
    }
    return result
  }

  /** Puts a part of one VMA, now of another length, where nothing lies (move_vma). */
  move(start: number, end: number, to: number, length: number): void {
    const vma = this.at(start)
    if (!vma) return
    const piece = this.#cut(vma, start, end)
    // The notifiers hear of the old place only, before anything has moved (case 304).
    revoke(piece)
    piece.backing?.opened()
    this.insert(new Vma({ ...piece, start: to, end: to + length }))
    this.#close(piece)
  }

  /** What a forked child gets: it has nothing yet. */
  copyTo(child: AddressSpace): void {
    for (const vma of this.#vmas) {
      if (!vma.isInherited) continue
      vma.backing?.opened()
      child.insert(new Vma({ ...vma }))
    }
  }

  /** The whole map goes, as when the process dies (exit_mmap). */
  clear(): void {
    const doomed = [...this.#vmas]
    for (const vma of doomed) revoke(vma)
    for (const vma of doomed) this.#close(vma)
  }

  /** The part of `vma` inside of the range as a VMA of its own. */
  #cut(vma: Vma, start: number, end: number): Vma {
    const piece = vma.start < start ? this.#splitAt(vma, start) : vma
    if (piece.end > end) this.#splitAt(piece, end)
    return piece
  }

  /** Cuts `vma` in two at `address` and answers the upper part. */
  #splitAt(vma: Vma, address: number): Vma {
    const firstPage = vma.firstPage + (address - vma.start) / PAGE_SIZE
    const upper = new Vma({ ...vma, start: address, firstPage })
    vma.end = address
    vma.backing?.opened()
    this.insert(upper)
    return upper
  }

  #close(vma: Vma): void {
    this.#vmas.remove(vma)
    this.#usage.mappings--
    vma.backing?.closed()
    if (vma.file?.drop()) this.#dropped(vma.file)
  }
}

/** The notifiers hear that the pages of a piece go. */
export function revoke(vma: Vma): void {
  vma.backing?.revoke?.(vma.firstPage, (vma.end - vma.start) / PAGE_SIZE)
}
