const CHUNK = 512

/**
 * Which ref lies at which page index of a gntalloc descriptor. Indexes only ever rise, so a flat
 * array with chunks that go when they are empty; ref 0 is reserved and stands for none.
 */
export class PageRefs {
  readonly #chunks = new Map<number, { refs: Uint32Array; live: number }>()
  /** Number of the newest chunk, which stays when it is empty: the next page goes there. */
  #newest = -1

  /** The ref at `page`, or 0. */
  get(page: number): number {
    return this.#chunks.get(Math.floor(page / CHUNK))?.refs[page % CHUNK] ?? 0
  }

  set(page: number, ref: number): void {
    const at = Math.floor(page / CHUNK)
    let chunk = this.#chunks.get(at)
    if (!chunk) {
      chunk = { refs: new Uint32Array(CHUNK), live: 0 }
      this.#chunks.set(at, chunk)
      if (this.#chunks.get(this.#newest)?.live === 0) this.#chunks.delete(this.#newest)
      this.#newest = at
    }
    chunk.refs[page % CHUNK] = ref
    chunk.live++
  }

  remove(page: number): void {
    const at = Math.floor(page / CHUNK)
    const chunk = this.#chunks.get(at)
    if (!chunk || chunk.refs[page % CHUNK] === 0) return
    chunk.refs[page % CHUNK] = 0
    chunk.live--
    if (chunk.live === 0 && at !== this.#newest) this.#chunks.delete(at)
  }

  /** Whether each of `count` pages from `first` on has a ref. */
  hasRun(first: number, count: number): boolean {
    for (let page = first; page < first + count; ) {
      const refs = this.#chunks.get(Math.floor(page / CHUNK))?.refs
      const end = Math.min(first + count, page - (page % CHUNK) + CHUNK)
      for (; page < end; page++) if ((refs?.[page % CHUNK] ?? 0) === 0) return false
    }
    return true
  }

  /** Every ref, in the order of the indexes, which is that of allocation. */
  *[Symbol.iterator](): Generator<number> {
    for (const { refs } of this.#chunks.values()) for (const ref of refs) if (ref !== 0) yield ref
  }
}
