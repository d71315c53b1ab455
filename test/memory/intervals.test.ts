import { expect, test } from 'vitest'
import { type Interval, IntervalList } from '../../src/memory/intervals.ts'
import { fc } from '../setup/properties.ts'

const WORLD = 3000

/** The plain model: who has each address. */
function check(list: IntervalList<Interval>, model: readonly (Interval | undefined)[]): void {
  const distinct = [...new Set(model.filter(item => item !== undefined))]
  expect(list.all()).toEqual(distinct)
  for (let address = 0; address < WORLD; address += 7) {
    expect(list.at(address)).toBe(model[address])
  }
}

const span = fc
  .tuple(fc.integer({ min: 0, max: WORLD - 1 }), fc.integer({ min: 1, max: 40 }))
  .map(([start, length]) => ({ start, end: Math.min(start + length, WORLD) }))

test('a list of intervals is what a plain array of addresses is', () => {
  const ops = fc.array(fc.tuple(fc.boolean(), span), { maxLength: 300 })
  fc.assert(
    fc.property(ops, run => {
      const list = new IntervalList<Interval>()
      const model = new Array<Interval | undefined>(WORLD).fill(undefined)
      for (const [isInsertion, { start, end }] of run) {
        const found = list.overlapping(start, end)
        expect(found).toEqual([...new Set(model.slice(start, end).filter(Boolean))])
        if (isInsertion) {
          for (const gap of list.gaps(start, end)) {
            expect(model.slice(gap.start, gap.end).every(item => !item)).toBe(true)
            list.insert(gap)
            model.fill(gap, gap.start, gap.end)
          }
        } else {
          for (const item of found) {
            const left = item.start < start ? [{ start: item.start, end: start }] : []
            const right = end < item.end ? [{ start: end, end: item.end }] : []
            list.replace(item, [...left, ...right])
            model.fill(undefined, item.start, item.end)
            for (const part of [...left, ...right]) model.fill(part, part.start, part.end)
          }
        }
      }
      check(list, model)
    }),
    { numRuns: 50 },
  )
})

test('thousands of intervals stay in order, whichever way they came', () => {
  for (const order of [(i: number) => i, (i: number) => 4999 - i, (i: number) => (i * 37) % 5000]) {
    const list = new IntervalList<Interval>()
    for (let i = 0; i < 5000; i++) {
      const start = order(i) * 2
      list.insert({ start, end: start + 1 })
    }
    expect(list.all().map(item => item.start)).toEqual(
      Array.from({ length: 5000 }, (_, i) => 2 * i),
    )
    expect(list.at(1234)?.start).toBe(1234)
    expect(list.at(1235)).toBeUndefined()
    for (const item of list.overlapping(100, 9900)) list.replace(item, [])
    expect(list.all().length).toBe(100)
    expect(list.gaps(98, 9902)).toEqual([
      { start: 99, end: 9900 },
      { start: 9901, end: 9902 },
    ])
  }
})
