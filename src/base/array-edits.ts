// splice() makes an array of what it removes and costs some 100 ns. The arrays here are short, or
// are changed near their end: then to move the items one by one costs a few.

/** Puts an item before the one at `at`, or behind all others. */
export function insertAt<T>(items: T[], at: number, item: T): void {
  for (let i = items.length; i > at; i--) items[i] = items[i - 1] as T
  items[at] = item
}

/** Takes out the item at `at`, which is there. */
export function removeAt<T>(items: T[], at: number): void {
  const last = items.length - 1
  for (let i = at; i < last; i++) items[i] = items[i + 1] as T
  items.pop()
}
