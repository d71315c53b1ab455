import { expect, test } from 'vitest'
import { decodePorts, encodePorts } from '../../src/abi/evtchn.ts'
import { LocalEventQueue } from '../../src/kernel/local-event-queue.ts'
import { PROFILES } from '../../src/kernel/profiles.ts'
import { fc } from '../setup/properties.ts'

const AGAIN = -11
const TOO_BIG = -27
const SIZE_FIRST = 64

/** Section 4 in plain words. */
class PlainRing {
  readonly states = new Map<number, 'idle' | 'masked' | 'pending'>()
  queue: number[] = []
  size = 0
  overflow = false

  bind(port: number): void {
    this.states.set(port, 'idle')
    if (this.states.size > this.size) this.size = Math.max(SIZE_FIRST, 2 * this.size)
  }

  raise(port: number): void {
    const state = this.states.get(port)
    if (state === 'idle') this.deliver(port)
    else if (state === 'masked') this.states.set(port, 'pending')
  }

  writeBack(port: number): void {
    const state = this.states.get(port)
    if (state === 'masked') this.states.set(port, 'idle')
    if (state === 'pending') this.deliver(port)
  }

  deliver(port: number): void {
    this.states.set(port, 'masked')
    if (this.queue.length >= this.size) this.overflow = true
    else this.queue.push(port)
  }

  read(count: number): number[] | number {
    if (count === 0) return []
    if (this.overflow) return TOO_BIG
    return this.queue.length === 0 ? AGAIN : this.queue.splice(0, count)
  }
}

const port = fc.integer({ min: 1, max: 90 })
const step = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(fc.constant('bind' as const), port) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('unbind' as const), port) },
  { weight: 6, arbitrary: fc.tuple(fc.constant('raise' as const), port) },
  { weight: 6, arbitrary: fc.tuple(fc.constant('write' as const), port) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('read' as const), fc.integer({ min: 0, max: 9 })) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('reset' as const), port) },
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

function compare(steps: Step[]): void {
  const queue = new LocalEventQueue(PROFILES['linux-6.12'])
  const { ring } = queue
  const plain = new PlainRing()
  let wakes = 0
  queue.onWake(() => wakes++)
  for (const [kind, n] of steps) {
    const before = { wakes, length: plain.queue.length, overflow: plain.overflow }
    if (kind === 'bind' && !plain.states.has(n)) {
      plain.bind(n)
      queue.bound(n, { kind: 'unbound', domid: 1 })
    } else if (kind === 'unbind') {
      plain.states.delete(n)
      queue.unbound(n)
    } else if (kind === 'raise') {
      plain.raise(n)
      queue.raise(n)
    } else if (kind === 'write') {
      plain.writeBack(n)
      expect(ring.write(encodePorts([n]))).toBe(4)
    } else if (kind === 'read') {
      const bytes = new Uint8Array(4 * n)
      const expected = plain.read(n)
      const result = ring.read(bytes)
      if (typeof expected === 'number') expect(result).toBe(expected)
      else expect(decodePorts(bytes.subarray(0, result))).toEqual(expected)
    } else if (kind === 'reset') {
      plain.queue = []
      plain.overflow = false
      ring.reset()
    }
    const isReadable = plain.queue.length > 0 && !plain.overflow
    expect([ring.isReadable, ring.hasOverflowed]).toEqual([isReadable, plain.overflow])
    // Woken by the change from empty, and by an overflow (case 256).
    const isNew = before.length === 0 && plain.queue.length > 0
    if (isNew || (plain.overflow && !before.overflow)) expect(wakes).toBeGreaterThan(before.wakes)
    else if (!plain.overflow) expect(wakes).toBe(before.wakes)
  }
}

test('a ring delivers as its plain model does', () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 400, size: 'max' }), compare), { numRuns: 200 })
})

test('sixty-four unread events fit and the next overflows (217, 258)', () => {
  const queue = new LocalEventQueue(PROFILES['linux-6.12'])
  queue.bound(3, { kind: 'unbound', domid: 1 })
  const round = (): void => {
    queue.raise(3)
    queue.ring.write(encodePorts([3]))
  }
  for (let i = 0; i < 64; i++) round()
  expect(queue.ring.hasOverflowed).toBe(false)
  round()
  expect([queue.ring.hasOverflowed, queue.ring.isReadable]).toEqual([true, false])
})
