/**
 * Which slots of a chunk are free. The lowest freed ones go first and as runs, since pages that lie
 * behind each other need one kernel mapping and one entry on the wire, however many they are.
 */
export class Slots {
  readonly #count: number
  /** A bit for each slot that was handed out and came back. */
  readonly #freed: Uint32Array
  #freedCount = 0
  /** No word below this one has a bit. */
  #lowestWord = 0
  #highWater = 0

  constructor(count: number) {
    this.#count = count
    this.#freed = new Uint32Array(Math.ceil(count / 32))
  }

  /** Every slot is in use. */
  get isFull(): boolean {
    return this.#freedCount === 0 && this.#highWater === this.#count
  }

  /** Slots below this one have been handed out before. */
  get highWater(): number {
    return this.#highWater
  }

  /** Takes up to `max` slots in a row, at least one: the first of them, and how many. */
  take(max: number): { first: number; count: number } {
    if (this.#freedCount > 0) return this.#takeFreed(max)
    const first = this.#highWater
    const count = Math.min(max, this.#count - first)
    this.#highWater += count
    return { first, count }
  }

  /** A slot that {@link take} answered comes back. */
  put(slot: number): void {
    const word = slot >>> 5
    this.#freed[word] = (this.#freed[word] ?? 0) | (1 << (slot & 31))
    this.#freedCount++
    if (word < this.#lowestWord) this.#lowestWord = word
  }

  #takeFreed(max: number): { first: number; count: number } {
    const freed = this.#freed
    let word = this.#lowestWord
    while (freed[word] === 0) word++
    this.#lowestWord = word
    const bits = freed[word] ?? 0
    const first = word * 32 + (31 - Math.clz32(bits & -bits))
    let count = 0
    for (let slot = first; count < max && this.#isFreed(slot); slot++, count++) {
      freed[slot >>> 5] = (freed[slot >>> 5] ?? 0) & ~(1 << (slot & 31))
    }
    this.#freedCount -= count
    return { first, count }
  }

  #isFreed(slot: number): boolean {
    return (((this.#freed[slot >>> 5] ?? 0) >>> (slot & 31)) & 1) === 1
  }
}
