import { copyWords, WORDS_LOOP_MAX } from '../base/copy-words.ts'
import type { Refs } from '../hypervisor/grant-table.ts'

const CHUNK = 512

interface Chunk {
  readonly refs: Refs
  live: number
}

/**
 * Which ref lies at which page index of a gntalloc descriptor. Indexes only ever rise, so a flat
 * array with chunks that go when they are empty; ref 0 is reserved and stands for none.
 */
export class PageRefs {
  readonly #chunks = new Map<number, Chunk>()
  /** Number of the newest chunk, which stays when it is empty: the next page goes there. */
  #newest = -1
  /** One that became empty, for the next to be made. */
  #spare: Chunk | undefined

  /** The ref at `page`, or 0. */
  get(page: number): number {
    return this.#chunks.get(Math.floor(page / CHUNK))?.refs[page % CHUNK] ?? 0
  }

  /** Puts refs at the pages from `first` on, which have none. */
  set(first: number, refs: Refs): void {
    for (let done = 0; done < refs.length; ) {
      const chunk = this.#open(Math.floor((first + done) / CHUNK))
      const at = (first + done) % CHUNK
      const count = Math.min(refs.length - done, CHUNK - at)
      copyWords(refs, done, count, chunk.refs, at)
      chunk.live += count
      done += count
    }
  }

  /**
   * The refs of `count` pages from `first` on, or undefined unless each of them has one. They are
   * good until the next change.
   */
  run(first: number, count: number): Refs | undefined {
    if (!this.#hasRun(first, count)) return undefined
    const start = first % CHUNK
    const only = start + count <= CHUNK && this.#chunks.get(Math.floor(first / CHUNK))
    if (only) return only.refs.subarray(start, start + count)
    const refs = new Uint32Array(count)
    for (let done = 0; done < count; ) {
      const from = (this.#chunks.get(Math.floor((first + done) / CHUNK)) as Chunk).refs
      const at = (first + done) % CHUNK
      const here = Math.min(count - done, CHUNK - at)
      copyWords(from, at, here, refs, done)
      done += here
    }
    return refs
  }

  /** Takes out a run that is there. */
  remove(first: number, count: number): void {
    for (let page = first; page < first + count; ) {
      const number = Math.floor(page / CHUNK)
      const chunk = this.#chunks.get(number)
      const end = Math.min(first + count, (number + 1) * CHUNK)
      if (chunk) {
        chunk.refs.fill(0, page % CHUNK, (page % CHUNK) + end - page)
        chunk.live -= end - page
        if (chunk.live === 0 && number !== this.#newest) this.#drop(number)
      }
      page = end
    }
  }

  /** Every ref, in the order of the indexes, which is that of allocation. */
  *[Symbol.iterator](): Generator<number> {
    for (const { refs } of this.#chunks.values()) for (const ref of refs) if (ref !== 0) yield ref
  }

  #hasRun(first: number, count: number): boolean {
    for (let page = first; page < first + count; ) {
      const chunk = this.#chunks.get(Math.floor(page / CHUNK))
      if (!chunk) return false
      const { refs } = chunk
      const at = page % CHUNK
      const end = Math.min(at + first + count - page, CHUNK)
      if (chunk.live < CHUNK && hasNone(refs, at, end)) return false
      page += end - at
    }
    return true
  }

  #open(number: number): Chunk {
    const known = this.#chunks.get(number)
    if (known) return known
    if (this.#chunks.get(this.#newest)?.live === 0) this.#drop(this.#newest)
    const chunk = this.#spare ?? { refs: new Uint32Array(CHUNK), live: 0 }
    this.#spare = undefined
    this.#chunks.set(number, chunk)
    this.#newest = number
    return chunk
  }

  #drop(number: number): void {
    this.#spare = this.#chunks.get(number)
    this.#chunks.delete(number)
  }
}

/** Whether a page in the range has no ref. */
function hasNone(refs: Refs, at: number, end: number): boolean {
  if (end - at > WORDS_LOOP_MAX) return refs.subarray(at, end).includes(0)
  for (let i = at; i < end; i++) if (refs[i] === 0) return true
  return false
}
