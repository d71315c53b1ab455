import { OrderedSpans } from './ordered-spans.ts'

interface Hole {
  start: number
  length: number
}

/**
 * The index space of one gntdev descriptor, in pages. A new map goes into the first hole that is at
 * least one page *larger* than it, else behind all others; a descriptor without maps starts at 0
 * again (gntdev_add_map; section 2.4, cases 95 to 98).
 *
 * The driver walks its list of maps; this keeps the holes instead, so that maps side by side cost
 * nothing. That the two agree is a property test.
 */
export class IndexSpace {
  readonly #holes = new OrderedSpans<Hole>()
  #end = 0
  /** No hole is longer: lets `take` skip them all when they are too short. */
  #longestAtMost = 0

  take(count: number): number {
    const hole = count < this.#longestAtMost ? this.#firstLongerThan(count) : undefined
    if (!hole) {
      const start = this.#end
      this.#end += count
      return start
    }
    const start = hole.start
    hole.start += count
    hole.length -= count
    return start
  }

  put(start: number, count: number): void {
    const hole: Hole = { start, length: count }
    const before = this.#holes.atOrBelow(start)
    if (before && before.start + before.length === start) {
      this.#holes.remove(before)
      hole.start = before.start
      hole.length += before.length
    }
    const after = this.#holes.above(start)
    if (after && after.start === start + count) {
      this.#holes.remove(after)
      hole.length += after.length
    }
    if (hole.start + hole.length === this.#end) {
      this.#end = hole.start
      return
    }
    this.#holes.insert(hole)
    this.#longestAtMost = Math.max(this.#longestAtMost, hole.length)
  }

  #firstLongerThan(count: number): Hole | undefined {
    let longest = 0
    for (const hole of this.#holes) {
      if (hole.length > count) return hole
      longest = Math.max(longest, hole.length)
    }
    this.#longestAtMost = longest
    return undefined
  }
}
