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

  /** So many slots in a row that {@link take} answered come back. */
  put(first: number, count: number): void {
    const freed = this.#freed
    for (let slot = first; slot < first + count; ) {
      const bits = Math.min(32 - (slot & 31), first + count - slot)
      freed[slot >>> 5] = (freed[slot >>> 5] as number) | mask(slot, bits)
      slot += bits
    }
    this.#freedCount += count
    this.#lowestWord = Math.min(this.#lowestWord, first >>> 5)
  }

  #takeFreed(max: number): { first: number; count: number } {
    const freed = this.#freed
    let word = this.#lowestWord
    while (freed[word] === 0) word++
    this.#lowestWord = word
    const bits = freed[word] ?? 0
    const first = word * 32 + (31 - Math.clz32(bits & -bits))
    let count = 0
    for (let slot = first; count < max; slot = first + count) {
      // Bits in a row from the slot's on, within its word.
      const left = ~((freed[slot >>> 5] ?? 0) >> (slot & 31))
      const inRow = left === 0 ? 32 : 31 - Math.clz32(left & -left)
      const wanted = Math.min(inRow, 32 - (slot & 31), max - count)
      if (wanted === 0) break
      freed[slot >>> 5] = (freed[slot >>> 5] as number) & ~mask(slot, wanted)
      count += wanted
    }
    this.#freedCount -= count
    return { first, count }
  }
}

/** So many bits of a word from that of `slot` on. */
function mask(slot: number, bits: number): number {
  return bits === 32 ? -1 : ((1 << bits) - 1) << (slot & 31)
}
