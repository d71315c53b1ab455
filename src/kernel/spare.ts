/** Up to so many words lie in V8's own heap, where an array costs next to nothing. */
const SMALL = 16

/**
 * The last array of words that somebody needs no more, for whoever needs one of that length next:
 * one with memory of its own takes a microsecond to make, and as much of the collector's time.
 */
export class Spare<T extends Int32Array | Uint32Array> {
  readonly #make: (length: number) => T
  #spare: T | undefined

  constructor(make: (length: number) => T) {
    this.#make = make
  }

  /** So many words; what is in them is of before. */
  take(length: number): T {
    const spare = this.#spare
    if (spare?.length !== length) return this.#make(length)
    this.#spare = undefined
    return spare
  }

  put(words: T): void {
    if (words.length > SMALL) this.#spare = words
  }
}
