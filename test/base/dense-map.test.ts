import { expect, test } from 'vitest'
import { DenseMap } from '../../src/base/dense-map.ts'
import { fc } from '../setup/properties.ts'

const KEYS = 40
/** A port that only BIND_STATIC can name, and nobody has far below it. */
const FAR = 131_071
const key = fc.oneof(
  { weight: 9, arbitrary: fc.nat(KEYS) },
  { weight: 1, arbitrary: fc.constant(FAR) },
)
const step = fc.oneof(
  { weight: 9, arbitrary: fc.record({ op: fc.constantFrom('set', 'delete'), key }) },
  { weight: 1, arbitrary: fc.constant({ op: 'clear', key: 0 }) },
)

test('it holds what a map with its keys in order holds', () => {
  const property = fc.property(fc.array(step, { maxLength: 60 }), steps => {
    const dense = new DenseMap<string>()
    const plain = new Map<number, string>()
    for (const [i, { op, key }] of steps.entries()) {
      for (const map of [dense, plain]) {
        if (op === 'set') map.set(key, `${i}`)
        else if (op === 'delete') map.delete(key)
        else map.clear()
      }
    }
    const sorted = [...plain].sort(([a], [b]) => a - b)
    expect([...dense.entries()]).toEqual(sorted)
    expect([...dense.keys()]).toEqual(sorted.map(([key]) => key))
    expect([...dense.values()]).toEqual(sorted.map(([, item]) => item))
    expect(dense.size).toBe(plain.size)
    for (const key of [...Array(KEYS + 1).keys(), FAR]) {
      expect(dense.get(key)).toBe(plain.get(key))
    }
  })
  fc.assert(property, { numRuns: 500 })
})

test('what is no key of it is not there', () => {
  const dense = new DenseMap<string>()
  dense.set(2, 'two')
  for (const key of [-1, 0.5, 3, 2 ** 32 - 1, Number.NaN]) expect(dense.get(key)).toBeUndefined()
})
