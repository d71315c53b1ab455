/** Keys below are in the array, which takes 32 KB at most, and is soon walked. */
const NEAR = 4096

/**
 * A map whose keys are mostly the lowest whole numbers that are free: ports. They are in an array,
 * since a table of hashes is spread over memory, and half of what it costs to look into one of some
 * thousand entries are the pages that nobody has touched for a while. The others are in a table:
 * whoever chooses far keys takes no more room than by near ones.
 */
export class DenseMap<T> {
  readonly #near: (T | undefined)[] = []
  readonly #far = new Map<number, T>()
  #nearCount = 0

  get size(): number {
    return this.#nearCount + this.#far.size
  }

  get(key: number): T | undefined {
    return key < this.#near.length ? this.#near[key] : this.#far.get(key)
  }

  set(key: number, item: T): void {
    if (key >= NEAR) {
      this.#far.set(key, item)
      return
    }
    const near = this.#near
    while (near.length < key) near.push(undefined)
    if (near[key] === undefined) this.#nearCount++
    near[key] = item
  }

  delete(key: number): void {
    if (this.#far.delete(key) || this.get(key) === undefined) return
    this.#near[key] = undefined
    this.#nearCount--
  }

  clear(): void {
    this.#near.length = 0
    this.#far.clear()
    this.#nearCount = 0
  }

  /** In ascending order; what is added or deleted meanwhile is seen or not. */
  *keys(): Generator<number> {
    for (let key = 0; key < this.#near.length; key++) if (this.#near[key] !== undefined) yield key
    if (this.#far.size > 0) yield* [...this.#far.keys()].sort((a, b) => a - b)
  }

  /** In the order of their keys. */
  *values(): Generator<T> {
    for (const [, item] of this.entries()) yield item
  }

  /** In the order of their keys. */
  *entries(): Generator<[key: number, item: T]> {
    for (const key of this.keys()) {
      const item = this.get(key)
      if (item !== undefined) yield [key, item]
    }
  }
}
