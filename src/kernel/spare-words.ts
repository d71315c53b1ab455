/** Up to so many words lie in V8's own heap, where they cost nothing to make. */
const SMALL = 16

/**
 * The last array that somebody needs no more, for whoever needs one of that length next: one with
 * memory of its own takes a microsecond to make, and as much of the collector's time later.
 */
export class SpareWords {
  #spare: Int32Array | undefined

  /** So many words; what is in them is of before. */
  take(length: number): Int32Array {
    const spare = this.#spare
    if (spare?.length !== length) return new Int32Array(length)
    this.#spare = undefined
    return spare
  }

  put(words: Int32Array): void {
    if (words.length > SMALL) this.#spare = words
  }
}
