/**
 * Hands out the lowest free number, as Xen does with ports and Linux with descriptors: what was
 * given back comes from a heap, what was never used from a counter. No cost depends on how many
 * numbers are out.
 */
export class NumberPool {
  /** Numbers given back, as a binary heap with the lowest first. */
  readonly #free: number[] = []
  #next: number

  constructor(first: number) {
    this.#next = first
  }

  /** The number that {@link take} would answer. */
  peek(): number {
    return this.#free[0] ?? this.#next
  }

  take(): number {
    const lowest = this.#free[0]
    if (lowest === undefined) return this.#next++
    const last = this.#free.pop() ?? lowest
    if (this.#free.length > 0) this.#sink(last)
    return lowest
  }

  /** Gives a number back that {@link take} answered. */
  put(number: number): void {
    const heap = this.#free
    let at = heap.length
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = heap[above] ?? number
      if (parent <= number) break
      heap[at] = parent
      at = above
    }
    heap[at] = number
  }

  /** Another pool with the same numbers out. */
  copy(): NumberPool {
    const copy = new NumberPool(this.#next)
    copy.#free.push(...this.#free)
    return copy
  }

  /** Every number ever handed out is below this. */
  get bound(): number {
    return this.#next
  }

  #sink(number: number): void {
    const heap = this.#free
    const size = heap.length
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= size) break
      if (child + 1 < size && (heap[child + 1] ?? 0) < (heap[child] ?? 0)) child++
      const smallest = heap[child] ?? number
      if (smallest >= number) break
      heap[at] = smallest
      at = child
    }
    heap[at] = number
  }
}
