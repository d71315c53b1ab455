import { expect, test } from 'vitest'
import { countMerges, merges } from './merges.ts'

const all = (lengths: readonly number[]): string[] =>
  Array.from(merges(lengths), order => order.join(''))

test('two calls of one and one of another come in three orders', () => {
  expect(all([2, 1])).toEqual(['001', '010', '100'])
  expect(all([])).toEqual([''])
  expect(all([0, 2])).toEqual(['11'])
})

test.each([[[3, 3]], [[2, 3, 1]], [[4, 0, 3]], [[2, 2, 2, 1]]])(
  'the orders of %j are as many as they should be, and no two are alike',
  lengths => {
    const orders = all(lengths)
    expect(new Set(orders).size).toBe(countMerges(lengths))
    expect(orders.length).toBe(countMerges(lengths))
    for (const order of orders) {
      const counts = lengths.map((_, sequence) => order.split(String(sequence)).length - 1)
      expect(counts).toEqual(lengths)
    }
  },
)

test('the count is exact where a factorial would not be', () => {
  expect(countMerges([5, 5])).toBe(252)
  expect(countMerges([6, 6, 1, 1])).toBe(168_168)
  expect(countMerges([20, 20])).toBe(137_846_528_820)
})
