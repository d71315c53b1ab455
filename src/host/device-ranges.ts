/** Where pages of a device lie in this process: disjoint runs, in ascending order. */
export interface DeviceRange<T> {
  readonly start: number
  readonly end: number
  readonly value: T
}

/** Finds runs by address in O(log n), and cuts them as munmap does. */
export class DeviceRanges<T> {
  readonly #ranges: DeviceRange<T>[] = []

  get size(): number {
    return this.#ranges.length
  }

  values(): Iterable<DeviceRange<T>> {
    return this.#ranges
  }

  add(start: number, end: number, value: T): void {
    this.#ranges.splice(this.#firstEndingAbove(start), 0, { start, end, value })
  }

  /** The run that contains `address`. */
  at(address: number): DeviceRange<T> | undefined {
    const range = this.#ranges[this.#firstEndingAbove(address)]
    return range && range.start <= address ? range : undefined
  }

  /** Where the first run behind `address` begins; infinitely far when there is none. */
  next(address: number): number {
    return this.#ranges[this.#firstEndingAbove(address)]?.start ?? Number.POSITIVE_INFINITY
  }

  overlaps(start: number, end: number): boolean {
    const range = this.#ranges[this.#firstEndingAbove(start)]
    return range !== undefined && range.start < end
  }

  /** Takes [start, end) out; what is left of a run at either side stays. Answers what was cut. */
  remove(start: number, end: number): DeviceRange<T>[] {
    const first = this.#firstEndingAbove(start)
    let last = first
    const cut: DeviceRange<T>[] = []
    const kept: DeviceRange<T>[] = []
    for (; last < this.#ranges.length; last++) {
      const range = this.#ranges[last] as DeviceRange<T>
      if (range.start >= end) break
      cut.push(range)
      if (range.start < start) kept.push({ start: range.start, end: start, value: range.value })
      if (range.end > end) kept.push({ start: end, end: range.end, value: range.value })
    }
    if (cut.length > 0) this.#ranges.splice(first, cut.length, ...kept)
    return cut
  }

  #firstEndingAbove(address: number): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#ranges[middle] as DeviceRange<T>).end <= address) low = middle + 1
      else high = middle
    }
    return low
  }
}
