import { describe, expect, test } from 'vitest'
import { Slots } from '../../src/host/slots.ts'
import { fc } from '../setup/properties.ts'

describe('the slots of a chunk', () => {
  test('are handed out as the longest run that starts at the lowest freed one', () => {
    const slots = new Slots(100)
    expect(slots.take(80)).toEqual({ first: 0, count: 80 })
    for (const slot of [70, 3, 34, 33, 32, 31]) slots.put(slot, 1)
    expect(slots.take(1)).toEqual({ first: 3, count: 1 })
    expect(slots.take(3)).toEqual({ first: 31, count: 3 })
    expect(slots.take(9)).toEqual({ first: 34, count: 1 })
    expect(slots.take(9)).toEqual({ first: 70, count: 1 })
    expect(slots.take(30)).toEqual({ first: 80, count: 20 })
    expect(slots.isFull).toBe(true)
  })

  test('make one run again whatever the order in which they come back', () => {
    const slots = new Slots(512)
    slots.take(512)
    for (let i = 0; i < 512; i++) slots.put((i * 77) % 512, 1)
    expect(slots.isFull).toBe(false)
    expect(slots.take(512)).toEqual({ first: 0, count: 512 })
    expect(slots.isFull).toBe(true)
  })

  test('that are free are what came back, whatever the runs are that go and come', () => {
    const step = fc.tuple(fc.boolean(), fc.nat(99), fc.integer({ min: 1, max: 99 }))
    fc.assert(
      fc.property(fc.array(step), steps => {
        const slots = new Slots(100)
        const used = new Set<number>()
        for (const [isTaking, start, max] of steps) {
          if (isTaking && used.size < 100) {
            const { first, count } = slots.take(max)
            expect(count).toBeGreaterThan(0)
            expect(count).toBeLessThanOrEqual(max)
            for (let slot = first; slot < first + count; slot++) {
              expect(used.has(slot)).toBe(false)
              used.add(slot)
            }
          } else {
            let end = start
            while (end < start + max && used.delete(end)) end++
            if (end > start) slots.put(start, end - start)
          }
          expect(slots.isFull).toBe(used.size === 100)
        }
      }),
    )
  })
})
