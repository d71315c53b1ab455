import { insertAt, removeAt } from '../base/array-edits.ts'

/** Addresses from `start` up to, and without, `end`. */
export interface Interval {
  readonly start: number
  readonly end: number
}

/** Above this a chunk is halved. A change moves no more than one chunk's worth of pointers. */
const CHUNK_MAX = 512
const NOTHING: readonly never[] = []

/**
 * Disjoint intervals in ascending order, in chunks of some hundreds: with 100,000 of them in one
 * array each change would move half of it, and the kernel gives out falling addresses, so nearly
 * every insertion is at the front.
 */
export class IntervalList<T extends Interval> {
  /** None is empty. */
  readonly #chunks: T[][] = []

  /** The one that contains the address. */
  at(address: number): T | undefined {
    const item = this.endingAfter(address)
    return item && item.start <= address ? item : undefined
  }

  /** The first one that ends after the address, which may lie below it. */
  endingAfter(address: number): T | undefined {
    const chunk = this.#chunks[this.#chunkFor(address)]
    return chunk?.[firstEndingAfter(chunk, address)]
  }

  /** All that share an address with `[start, end)`, ascending: a copy, good while they change. */
  overlapping(start: number, end: number): T[] {
    const found: T[] = []
    for (let c = this.#chunkFor(start); c < this.#chunks.length; c++) {
      const chunk = this.#chunks[c]!
      for (let i = firstEndingAfter(chunk, start); i < chunk.length; i++) {
        const item = chunk[i]!
        if (item.start >= end) return found
        found.push(item)
      }
    }
    return found
  }

  /** The parts of `[start, end)` that no interval covers, ascending. */
  gaps(start: number, end: number): Interval[] {
    const gaps: Interval[] = []
    let at = start
    for (const item of this.overlapping(start, end)) {
      if (at < item.start) gaps.push({ start: at, end: item.start })
      at = item.end
    }
    if (at < end) gaps.push({ start: at, end })
    return gaps
  }

  /** It must not overlap another. */
  insert(item: T): void {
    if (this.#chunks.length === 0) {
      this.#chunks.push([item])
      return
    }
    const c = Math.min(this.#chunkFor(item.start), this.#chunks.length - 1)
    const chunk = this.#chunks[c]!
    insertAt(chunk, firstEndingAfter(chunk, item.start), item)
    this.#balance(c)
  }

  /** Puts others, ascending and within its bounds, into the place of a member. */
  replace(item: T, others: readonly T[]): void {
    const c = this.#chunkFor(item.start)
    const chunk = this.#chunks[c]!
    const at = firstEndingAfter(chunk, item.start)
    const only = others[0]
    if (only === undefined) removeAt(chunk, at)
    else if (others.length === 1) chunk[at] = only
    else chunk.splice(at, 1, ...others)
    this.#balance(c)
  }

  /** Takes addresses out of whatever covers them, and answers what did. */
  cut(start: number, end: number): T[] {
    if (this.#chunks.length === 0) return []
    const covering = this.overlapping(start, end)
    for (const item of covering) {
      if (start <= item.start && item.end <= end) this.replace(item, NOTHING)
      else this.replace(item, edges(item, start, end))
    }
    return covering
  }

  /** All, ascending; a copy. */
  all(): T[] {
    return this.#chunks.flat()
  }

  #balance(c: number): void {
    const chunk = this.#chunks[c]!
    if (chunk.length === 0) removeAt(this.#chunks, c)
    else if (chunk.length > CHUNK_MAX)
      this.#chunks.splice(c + 1, 0, chunk.splice(chunk.length >>> 1))
  }

  /** The first chunk with an interval that ends after the address. */
  #chunkFor(address: number): number {
    let low = 0
    let high = this.#chunks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#chunks[middle]!.at(-1)!.end > address) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** What is left of an interval at either side of `[start, end)`. */
function edges<T extends Interval>(item: T, start: number, end: number): T[] {
  const below = item.start < start ? [{ ...item, end: start }] : []
  const above = end < item.end ? [{ ...item, start: end }] : []
  return [...below, ...above]
}

function firstEndingAfter(items: readonly Interval[], address: number): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (items[middle]!.end > address) high = middle
    else low = middle + 1
  }
  return low
}
