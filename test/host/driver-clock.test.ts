import { describe, expect, test } from 'vitest'
import { DriverClock } from '../../src/host/driver-clock.ts'

/** A machine whose time is set by hand. */
function machine() {
  const time = { ms: 1000 }
  const done: string[] = []
  const clock = new DriverClock(() => time.ms)
  const set = (name: string, delayMs: number) => clock.after(delayMs, () => done.push(name))
  return { time, clock, done, set }
}

describe('the clock of the drivers', () => {
  test('counts a timer from when it was set, however long nobody looked', () => {
    const { time, clock, done, set } = machine()
    time.ms += 5000
    set('one', 100)
    expect(clock.dueMs).toBe(100)
    time.ms += 99
    clock.catchUp()
    expect(done).toEqual([])
    expect(clock.dueMs).toBe(1)
    time.ms += 1
    clock.catchUp()
    expect(done).toEqual(['one'])
  })

  test('runs late timers in the order in which they were due', () => {
    const { time, clock, done, set } = machine()
    set('later', 200)
    time.ms += 50
    set('sooner', 100)
    time.ms += 1000
    expect(clock.dueMs).toBe(0)
    clock.catchUp()
    expect(done).toEqual(['sooner', 'later'])
    expect(clock.dueMs).toBe(Number.POSITIVE_INFINITY)
  })

  test('starts at zero and goes with the machine', () => {
    const { time, clock } = machine()
    expect(clock.now()).toBe(0)
    time.ms += 7
    expect(clock.now()).toBe(7)
  })

  test('of a machine that stands still moves by hand alone', () => {
    const clock = new DriverClock(undefined)
    const done: number[] = []
    clock.after(10, () => done.push(clock.now()))
    expect(clock.dueMs).toBe(Number.POSITIVE_INFINITY)
    clock.catchUp()
    clock.advance(25)
    expect(done).toEqual([10])
    expect(clock.now()).toBe(25)
  })
})
