/**
 * Every order in which sequences of these lengths can be merged, each keeping its own: which
 * sequence comes next, again and again. The array that is answered is changed afterwards.
 */
export function* merges(lengths: readonly number[]): Generator<readonly number[]> {
  const left = [...lengths]
  const order: number[] = []
  yield* extend()

  function* extend(): Generator<readonly number[]> {
    let isWhole = true
    for (const [sequence, count] of left.entries()) {
      if (count === 0) continue
      isWhole = false
      left[sequence] = count - 1
      order.push(sequence)
      yield* extend()
      order.pop()
      left[sequence] = count
    }
    if (isWhole) yield order
  }
}

/** How many there are: (a + b + …)! / (a! b! …), without a factorial that is too large. */
export function countMerges(lengths: readonly number[]): number {
  let count = 1
  let total = 0
  for (const length of lengths) {
    for (let i = 1; i <= length; i++) count = (count * ++total) / i
  }
  return count
}
