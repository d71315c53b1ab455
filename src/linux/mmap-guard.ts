import {
  decodeAllocGref,
  decodeAllocGrefReply,
  decodeDeallocGref,
  GNTALLOC_ALLOC_GREF,
  GNTALLOC_DEALLOC_GREF,
} from '../abi/gntalloc.ts'
import {
  decodeGrantRefs,
  decodeMapGrantRefCount,
  decodeMapGrantRefIndex,
  decodeUnmapGrantRef,
  GNTDEV_MAP_GRANT_REF,
  GNTDEV_UNMAP_GRANT_REF,
  MAP_GRANT_REF_ELEMENTS,
  mapGrantRefSize,
} from '../abi/gntdev.ts'
import { PAGE_SIZE, pagesOf } from '../abi/page.ts'
import type { ErrorFacts } from '../base/errors.ts'
import { type Interval, IntervalList } from '../memory/intervals.ts'

/**
 * Keeps a program from an mmap that the driver would accept and that damages a kernel. One for
 * each open file description, shared by its descriptors.
 */
export interface MmapGuard {
  /** The calls that it wants to hear of. */
  readonly calls: ReadonlySet<number>
  /** One of them has succeeded; `argument` is the struct as the driver left it. */
  note(number: number, argument: Uint8Array): void
  /** Before an mmap of these bytes. Throws RangeError, or answers why it must not be. */
  check(offset: number, length: number): ErrorFacts | undefined
}

interface Allocated extends Interval {
  /** The whole of the ALLOC that it belongs to. */
  readonly whole: Interval
}

/**
 * gntalloc: never map across two ALLOC results, although their indexes touch. When the file goes,
 * the driver walks the *global* list of grants for as many pages as were mapped, while mmap walked
 * the *file's* list: with another descriptor's ALLOC in between, a stranger's grants lose a user
 * and the kernel's memory is corrupted (2.2 of the fact sheet, HAZARD).
 */
export class AllocGuard implements MmapGuard {
  readonly calls: ReadonlySet<number> = new Set([GNTALLOC_ALLOC_GREF, GNTALLOC_DEALLOC_GREF])
  readonly #allocated = new IntervalList<Allocated>()

  note(number: number, argument: Uint8Array): void {
    if (number === GNTALLOC_ALLOC_GREF) {
      const { count } = decodeAllocGref(argument)
      const { index } = decodeAllocGrefReply(argument, 0)
      if (count > 0) this.#add({ start: index, end: index + count * PAGE_SIZE })
    } else {
      const { index, count } = decodeDeallocGref(argument)
      this.#allocated.cut(index, index + count * PAGE_SIZE)
    }
  }

  check(offset: number, length: number): undefined {
    const end = offset + pagesOf(length) * PAGE_SIZE
    const wholes = this.#allocated.overlapping(offset, end).map(({ whole }) => whole)
    if (wholes.every(whole => whole === wholes[0])) return
    throw new RangeError(
      `mmap of bytes ${offset} to ${end} spans the results of two ALLOC_GREF calls, from which ` +
        'gntalloc can corrupt the kernel: map each by itself, or allocate the pages in one call',
    )
  }

  #add(whole: Interval): void {
    this.#allocated.cut(whole.start, whole.end)
    this.#allocated.insert({ ...whole, whole })
  }
}

/**
 * gntdev outside PV: never map a grant of the own domain. Xen finds the frame mapped in this very
 * domain at another place and removes it there: the page vanishes under the gntalloc mapping, and
 * is not put back on unmap; a PVH guest that did it died (section 3 of the fact sheet).
 */
export class SelfGrantGuard implements MmapGuard {
  readonly calls: ReadonlySet<number> = new Set([GNTDEV_MAP_GRANT_REF, GNTDEV_UNMAP_GRANT_REF])
  /** Page index of a MAP → granting domains. */
  readonly #maps = new Map<number, ReadonlySet<number>>()
  readonly #ownDomid: () => number

  constructor(ownDomid: () => number) {
    this.#ownDomid = ownDomid
  }

  note(number: number, argument: Uint8Array): void {
    if (number === GNTDEV_UNMAP_GRANT_REF) {
      this.#maps.delete(pageOf(decodeUnmapGrantRef(argument).index))
      return
    }
    const end = mapGrantRefSize(decodeMapGrantRefCount(argument))
    const flat = decodeGrantRefs(argument.subarray(MAP_GRANT_REF_ELEMENTS, end))
    // The kernel narrows a domid to 16 bits, so 0x10001 is domain 1 too.
    const domids = flat.filter((_, i) => i % 2 === 0).map(domid => domid & 0xffff)
    this.#maps.set(pageOf(decodeMapGrantRefIndex(argument)), new Set(domids))
  }

  check(offset: number): ErrorFacts | undefined {
    const domids = this.#maps.get(pageOf(offset))
    if (!domids) return undefined
    const own = this.#ownDomid()
    if (!domids.has(own)) return undefined
    return {
      domid: own,
      index: offset,
      fix:
        'interdom refused: outside PV, mapping a grant of the own domain takes the page away ' +
        'from gntalloc for good. Use the gntalloc mapping itself, GRANT_COPY, or a second domain',
    }
  }
}

function pageOf(index: number): number {
  return Math.floor(index / PAGE_SIZE)
}
