import { insertAt, removeAt } from '../base/array-edits.ts'

const CHUNK_MAX = 128

/**
 * Things that lie at a `start`, in ascending order: an array cut into chunks, so that insertion
 * moves at most one chunk and lookup is two binary searches, with 100,000 of them as with ten.
 * A `start` may change in place as long as the order stays.
 */
export class OrderedSpans<T extends { readonly start: number }> {
  readonly #chunks: T[][] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  get last(): T | undefined {
    return this.#chunks.at(-1)?.at(-1)
  }

  insert(item: T): void {
    this.#size++
    const at = Math.max(0, this.#chunkOf(item.start))
    const chunk = this.#chunks[at]
    if (!chunk) {
      this.#chunks.push([item])
      return
    }
    insertAt(chunk, firstAbove(chunk, item.start), item)
    if (chunk.length <= CHUNK_MAX) return
    this.#chunks.splice(at + 1, 0, chunk.splice(CHUNK_MAX / 2))
  }

  /** Removes the item that lies at the same start. */
  remove(item: T): void {
    const at = this.#chunkOf(item.start)
    const chunk = at < 0 ? undefined : this.#chunks[at]
    if (!chunk) return
    const place = firstAbove(chunk, item.start) - 1
    if (chunk[place]?.start !== item.start) return
    this.#size--
    removeAt(chunk, place)
    if (chunk.length === 0) removeAt(this.#chunks, at)
  }

  /** The last item that starts at or below `start`. */
  atOrBelow(start: number): T | undefined {
    const at = this.#chunkOf(start)
    const chunk = at < 0 ? undefined : this.#chunks[at]
    return chunk?.[firstAbove(chunk, start) - 1]
  }

  /** The first item that starts above `start`. */
  above(start: number): T | undefined {
    const at = this.#chunkOf(start)
    const chunk = at < 0 ? undefined : this.#chunks[at]
    const here = chunk?.[firstAbove(chunk, start)]
    return here ?? this.#chunks[at + 1]?.[0]
  }

  *[Symbol.iterator](): Generator<T> {
    for (const chunk of this.#chunks) yield* chunk
  }

  /**
   * The chunk whose first item is the last one at or below `start`, or -1: which must not be looked
   * up, since V8 takes it for the name of a property and is a hundred times slower.
   */
  #chunkOf(start: number): number {
    let low = 0
    let high = this.#chunks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const first = this.#chunks[middle]?.[0]
      if (first !== undefined && first.start <= start) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}

/** Position of the first item of a sorted run that starts above `start`. */
function firstAbove(items: readonly { readonly start: number }[], start: number): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const item = items[middle]
    if (item !== undefined && item.start <= start) low = middle + 1
    else high = middle
  }
  return low
}
