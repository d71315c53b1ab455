import { expect, test } from 'vitest'
import { NumberPool } from '../../src/hypervisor/number-pool.ts'
import { fc } from '../setup/properties.ts'

test('the lowest free number is taken (224, 229)', () => {
  fc.assert(
    fc.property(
      fc.array(fc.option(fc.nat(), { nil: undefined }), { maxLength: 200, size: 'max' }),
      steps => {
        const pool = new NumberPool(1)
        const out = new Set<number>()
        for (const put of steps) {
          if (put === undefined || out.size === 0) {
            let lowest = 1
            while (out.has(lowest)) lowest++
            expect(pool.peek()).toBe(lowest)
            expect(pool.take()).toBe(lowest)
            out.add(lowest)
          } else {
            const gone = [...out][put % out.size]!
            out.delete(gone)
            pool.put(gone)
          }
        }
        expect(pool.bound).toBeGreaterThan(Math.max(0, ...out))
      },
    ),
  )
})
