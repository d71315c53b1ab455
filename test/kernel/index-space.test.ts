import { expect, test } from 'vitest'
import { IndexSpace } from '../../src/kernel/index-space.ts'
import { fc } from '../setup/properties.ts'

interface Taken {
  start: number
  count: number
}

/** gntdev_add_map as the driver has it: a walk over its list. */
function walk(maps: readonly Taken[], count: number): number {
  let candidate = 0
  for (const map of maps) {
    if (candidate + count < map.start) break
    candidate = map.start + map.count
  }
  return candidate
}

const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ take: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ put: fc.nat() }) },
)

test('an index is where the walk of the driver finds it (280)', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300, size: 'max' }), steps => {
      const space = new IndexSpace()
      const maps: Taken[] = []
      for (const one of steps) {
        if ('take' in one) {
          const start = walk(maps, one.take)
          expect(space.take(one.take)).toBe(start)
          const at = maps.findIndex(map => map.start > start)
          maps.splice(at < 0 ? maps.length : at, 0, { start, count: one.take })
        } else if (maps.length > 0) {
          const [gone] = maps.splice(one.put % maps.length, 1)
          space.put(gone!.start, gone!.count)
        }
      }
    }),
    { numRuns: 300 },
  )
})

test('a hole is taken only when it is larger than needed (95 to 98)', () => {
  const space = new IndexSpace()
  expect([space.take(1), space.take(1)]).toEqual([0, 1])
  space.put(0, 1)
  expect(space.take(1)).toBe(2)
  space.put(1, 1)
  expect(space.take(1)).toBe(0)
  for (const start of [0, 2]) space.put(start, 1)
  expect(space.take(1)).toBe(0)
})
