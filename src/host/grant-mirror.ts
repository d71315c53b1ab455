import { PAGE_SHIFT, PAGE_SIZE, pagesOf } from '../abi/page.ts'
import { IndexSpace } from '../kernel/index-space.ts'
import { countPages, type PageRun } from './chunk-cache.ts'

/** Pages of one ALLOC_GREF, all of them still allocated. */
export interface Allocation {
  readonly index: number
  readonly runs: readonly PageRun[]
  readonly count: number
  /** False once any of its pages was released: then only the host knows what is left. */
  isWhole: boolean
  /** A page of it has a notification: the order of its release can be seen. */
  isArmed: boolean
  /** Mappings of all its pages that this process has. */
  mappings: number
}

/**
 * What a client knows of a gntalloc descriptor of its own: enough to mmap what it allocated, and to
 * unmap it before it is released, without asking. Neither has an effect that anybody could see.
 */
export class AllocMirror {
  readonly #byIndex = new Map<number, Allocation>()

  allocated(index: number, runs: readonly PageRun[]): void {
    const count = countPages(runs)
    if (count === 0) return
    const fresh = { index, runs, count, isWhole: true, isArmed: false, mappings: 0 }
    this.#byIndex.set(index, fresh)
  }

  /** The allocation that starts at this offset and is exactly this long. */
  find(offset: number, length: number): Allocation | undefined {
    const found = this.#byIndex.get(offset)
    return found && found.count === pagesOf(length) ? found : undefined
  }

  /** DEALLOC_GREF would succeed, and our own mapping would keep everything as it is. */
  isHeld(index: number, count: number): boolean {
    const found = this.find(index, count * PAGE_SIZE)
    return found !== undefined && found.mappings > 0 && !found.isArmed
  }

  /** SET_UNMAP_NOTIFY succeeded somewhere inside an allocation. */
  armed(index: number): void {
    const first = this.#byIndex.get(index - (index % PAGE_SIZE))
    if (first) {
      first.isArmed = true
      return
    }
    for (const allocation of this.#byIndex.values()) {
      const end = allocation.index + allocation.count * PAGE_SIZE
      if (allocation.index <= index && index < end) allocation.isArmed = true
    }
  }

  /** DEALLOC_GREF succeeded: whatever it touched is not whole any more. */
  released(index: number, count: number): void {
    const exact = this.#byIndex.get(index)
    if (exact && exact.count === count) {
      this.#forget(exact)
      return
    }
    const end = index + count * PAGE_SIZE
    for (const allocation of this.#byIndex.values()) {
      const itsEnd = allocation.index + allocation.count * PAGE_SIZE
      if (allocation.index < end && itsEnd > index) this.#forget(allocation)
    }
  }

  /** The descriptor is closed: an unmapping may be what releases the pages now. */
  closed(): void {
    for (const allocation of this.#byIndex.values()) this.#forget(allocation)
  }

  #forget(allocation: Allocation): void {
    allocation.isWhole = false
    this.#byIndex.delete(allocation.index)
  }
}

interface BookedMap {
  readonly count: number
  /** Its end may be seen by others: it has a notification, or is what holds pages mapped. */
  isSeen: boolean
}

/**
 * What a client knows of a gntdev descriptor of its own: the index that the next MAP_GRANT_REF will
 * answer, by the driver's own rule, and which maps can be let go in silence.
 */
export class MapMirror {
  readonly #space = new IndexSpace()
  readonly #maps = new Map<number, BookedMap>()

  /** Books a map: its index in bytes. */
  book(count: number): number {
    const start = this.#space.take(count)
    this.#maps.set(start, { count, isSeen: false })
    return start << PAGE_SHIFT
  }

  /** UNMAP_GRANT_REF would succeed, and nobody would notice. */
  isSilent(index: number, count: number): boolean {
    const map = this.#maps.get(index / PAGE_SIZE)
    return map !== undefined && map.count === count && !map.isSeen
  }

  /** UNMAP_GRANT_REF succeeds, or has succeeded; the driver narrows its index (case 278). */
  unbooked(index: number): void {
    const start = Math.floor(index / PAGE_SIZE) % 2 ** 32
    const map = this.#maps.get(start)
    if (!map) return
    this.#maps.delete(start)
    this.#space.put(start, map.count)
  }

  /**
   * SET_UNMAP_NOTIFY succeeded somewhere inside a map; or it was mmapped in HVM, where the pages
   * stay mapped until UNMAP_GRANT_REF, even those of an mmap that failed (case 120).
   */
  seen(index: number): void {
    const page = Math.floor(index / PAGE_SIZE)
    const first = this.#maps.get(page)
    if (first) {
      first.isSeen = true
      return
    }
    for (const [start, map] of this.#maps) {
      if (start <= page && page < start + map.count) map.isSeen = true
    }
  }
}
