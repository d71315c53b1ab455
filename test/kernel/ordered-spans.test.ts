import { expect, test } from 'vitest'
import { OrderedSpans } from '../../src/kernel/ordered-spans.ts'
import { fc } from '../setup/properties.ts'

test('it answers as a sorted array does', () => {
  const start = fc.integer({ min: 0, max: 3000 })
  fc.assert(
    fc.property(fc.array(start, { minLength: 600, maxLength: 3000, size: 'max' }), starts => {
      const spans = new OrderedSpans<{ start: number }>()
      const model = new Set<number>()
      for (const one of starts) {
        if (model.delete(one)) spans.remove({ start: one })
        else {
          model.add(one)
          spans.insert({ start: one })
        }
      }
      const sorted = [...model].sort((a, b) => a - b)
      expect(Array.from(spans, item => item.start)).toEqual(sorted)
      expect(spans.size).toBe(sorted.length)
      expect(spans.last?.start).toBe(sorted.at(-1))
      for (let at = -1; at < 3001; at += 7) {
        expect(spans.atOrBelow(at)?.start).toBe(sorted.findLast(other => other <= at))
        expect(spans.above(at)?.start).toBe(sorted.find(other => other > at))
      }
    }),
    { numRuns: 20 },
  )
})

test('removing what is not there changes nothing', () => {
  const spans = new OrderedSpans<{ start: number }>()
  spans.remove({ start: 1 })
  spans.insert({ start: 5 })
  spans.remove({ start: 1 })
  spans.remove({ start: 9 })
  expect(spans.size).toBe(1)
})
