import { PAGE_SHIFT, PAGE_SIZE, pagesOf } from '../abi/page.ts'
import { IndexSpace } from '../kernel/index-space.ts'
import { countPages, type PageRun } from './chunk-cache.ts'

/** Whether a descriptor is closed: what is mapped then holds its file, and everything of that. */
interface Closable {
  readonly isClosed: boolean
}

/** Pages of one ALLOC_GREF, all of them still allocated. */
export interface Allocation {
  readonly file: Closable
  readonly index: number
  readonly runs: readonly PageRun[]
  readonly count: number
  /** False once any of its pages was released: then only the host knows what is left. */
  isWhole: boolean
  /** A page of it has a notification. */
  isArmed: boolean
}

/** No event follows when a mapping of the pages, or the descriptor's hold of them, ends. */
export function endsQuietly({ file, isArmed }: Pick<Allocation, 'file' | 'isArmed'>): boolean {
  return !isArmed && !file.isClosed
}

/**
 * What a client knows of a gntalloc descriptor of its own: enough to mmap what it allocated, to
 * unmap and to release it without waiting for the host.
 */
export class AllocMirror {
  readonly #byIndex = new Map<number, Allocation>()
  isClosed = false

  allocated(index: number, runs: readonly PageRun[]): void {
    const count = countPages(runs)
    if (count === 0) return
    const fresh = { file: this, index, runs, count, isWhole: true, isArmed: false }
    this.#byIndex.set(index, fresh)
  }

  /** The allocation that starts at this offset and is exactly this long. */
  find(offset: number, length: number): Allocation | undefined {
    const found = this.#byIndex.get(offset)
    return found && found.count === pagesOf(length) ? found : undefined
  }

  /** DEALLOC_GREF would succeed, and no event follow. */
  endsQuietly(index: number, count: number): boolean {
    const found = this.find(index, count * PAGE_SIZE)
    return found !== undefined && endsQuietly(found)
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
    this.isClosed = true
    for (const allocation of this.#byIndex.values()) this.#forget(allocation)
  }

  #forget(allocation: Allocation): void {
    allocation.isWhole = false
    this.#byIndex.delete(allocation.index)
  }
}

export interface BookedMap {
  readonly file: Closable
  readonly count: number
  /** It has a notification. */
  isArmed: boolean
}

/**
 * What a client knows of a gntdev descriptor of its own: the index that the next MAP_GRANT_REF will
 * answer, by the driver's own rule, and which maps end without an event.
 */
export class MapMirror {
  readonly #space = new IndexSpace()
  readonly #maps = new Map<number, BookedMap>()
  isClosed = false

  /** Books a map: its index in bytes. */
  book(count: number): number {
    const start = this.#space.take(count)
    this.#maps.set(start, { file: this, count, isArmed: false })
    return start << PAGE_SHIFT
  }

  /** The map that starts at this offset. */
  find(offset: number): BookedMap | undefined {
    return this.#maps.get(offset / PAGE_SIZE)
  }

  /** UNMAP_GRANT_REF would succeed, and no event follow. */
  endsQuietly(index: number, count: number): boolean {
    const map = this.find(index)
    return map !== undefined && map.count === count && endsQuietly(map)
  }

  /** UNMAP_GRANT_REF succeeds, or has succeeded; the driver narrows its index (case 278). */
  unbooked(index: number): void {
    const start = Math.floor(index / PAGE_SIZE) % 2 ** 32
    const map = this.#maps.get(start)
    if (!map) return
    this.#maps.delete(start)
    this.#space.put(start, map.count)
  }

  /** SET_UNMAP_NOTIFY succeeded somewhere inside a map. */
  armed(index: number): void {
    const page = Math.floor(index / PAGE_SIZE)
    const first = this.#maps.get(page)
    if (first) {
      first.isArmed = true
      return
    }
    for (const [start, map] of this.#maps) {
      if (start <= page && page < start + map.count) map.isArmed = true
    }
  }

  /** The descriptor is closed: an unmapping may be what ends its other maps. */
  closed(): void {
    this.isClosed = true
  }
}
