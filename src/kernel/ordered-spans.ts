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
  /**
   * The chunk that was found last, and the position in one. Calls come in runs at one place, and to
   * see that it still is the one costs two comparisons instead of a search.
   */
  #latestChunk = 0
  #latestPosition = 0

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
    insertAt(chunk, this.#firstAbove(chunk, item.start), item)
    if (chunk.length <= CHUNK_MAX) return
    this.#chunks.splice(at + 1, 0, chunk.splice(CHUNK_MAX / 2))
  }

  /** Removes the item that lies at the same start. */
  remove(item: T): void {
    const at = this.#chunkOf(item.start)
    const chunk = at < 0 ? undefined : this.#chunks[at]
    if (!chunk) return
    const place = this.#firstAbove(chunk, item.start) - 1
    if (chunk[place]?.start !== item.start) return
    this.#size--
    removeAt(chunk, place)
    if (chunk.length === 0) removeAt(this.#chunks, at)
  }

  /** The last item that starts at or below `start`. */
  atOrBelow(start: number): T | undefined {
    const at = this.#chunkOf(start)
    const chunk = at < 0 ? undefined : this.#chunks[at]
    return chunk?.[this.#firstAbove(chunk, start) - 1]
  }

  /** The first item that starts above `start`. */
  above(start: number): T | undefined {
    const at = this.#chunkOf(start)
    const chunk = at < 0 ? undefined : this.#chunks[at]
    const here = chunk?.[this.#firstAbove(chunk, start)]
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
    const chunks = this.#chunks
    if (startsAbove(chunks[0], start)) return -1
    const latest = this.#latestChunk
    if (!startsAbove(chunks[latest], start) && startsAbove(chunks[latest + 1], start)) return latest
    let low = 1
    let high = chunks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (startsAbove(chunks[middle], start)) high = middle
      else low = middle + 1
    }
    this.#latestChunk = low - 1
    return low - 1
  }

  /** Position of the first item of a chunk that starts above `start`. */
  #firstAbove(items: readonly T[], start: number): number {
    const latest = this.#latestPosition
    if (latest <= items.length && isFirstAbove(items, latest, start)) return latest
    let low = 0
    let high = items.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((items[middle] as T).start <= start) low = middle + 1
      else high = middle
    }
    this.#latestPosition = low
    return low
  }
}

interface Span {
  readonly start: number
}

/** Whether a chunk lies wholly above `start`; so does the one behind the last. */
function startsAbove(chunk: readonly Span[] | undefined, start: number): boolean {
  return chunk === undefined || (chunk[0] as Span).start > start
}

function isFirstAbove(items: readonly Span[], at: number, start: number): boolean {
  if (at > 0 && (items[at - 1] as Span).start > start) return false
  return at === items.length || (items[at] as Span).start > start
}
