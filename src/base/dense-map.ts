/**
 * A map whose keys are small numbers, the lowest free ones first: ports. An array, since a table of
 * hashes is spread over memory, and half of what it costs to look into one of some thousand entries
 * are the pages that nobody has touched for a while.
 *
 * It never shrinks: a key takes the room of all that are below it. The caller bounds keys.
 */
export class DenseMap<T> {
  readonly #items: (T | undefined)[] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  get(key: number): T | undefined {
    return key < this.#items.length ? this.#items[key] : undefined
  }

  set(key: number, item: T): void {
    const items = this.#items
    // An array with holes would become a table when they are many.
    while (items.length < key) items.push(undefined)
    if (items[key] === undefined) this.#size++
    items[key] = item
  }

  delete(key: number): void {
    if (this.get(key) === undefined) return
    this.#items[key] = undefined
    this.#size--
  }

  clear(): void {
    this.#items.length = 0
    this.#size = 0
  }

  /** In ascending order; what is added or deleted meanwhile is seen or not. */
  *entries(): Generator<[key: number, item: T]> {
    for (const [key, item] of this.#items.entries()) if (item !== undefined) yield [key, item]
  }

  /** In ascending order. */
  *keys(): Generator<number> {
    for (const [key] of this.entries()) yield key
  }

  /** In the order of their keys. */
  *values(): Generator<T> {
    for (const [, item] of this.entries()) yield item
  }
}
