import { type Clock, ManualClock, type Timer } from '../base/clock.ts'

/**
 * The time of the drivers' timers on a host: that of the machine, which nobody asks for while no
 * timer waits, or one that stands still until it is moved by hand.
 */
export class DriverClock implements Clock {
  readonly #timers = new ManualClock()
  readonly #machine: (() => number) | undefined
  readonly #startedAt: number

  /** `machine` tells milliseconds; without it the clock stands still. */
  constructor(machine: (() => number) | undefined) {
    this.#machine = machine
    this.#startedAt = machine?.() ?? 0
  }

  now(): number {
    return this.#timers.now() + this.#behindMs
  }

  after(delayMs: number, task: () => void): Timer {
    return this.#timers.after(delayMs + this.#behindMs, task)
  }

  /** Milliseconds until a timer falls due by itself; infinite when none will. */
  get dueMs(): number {
    const due = this.#machine && this.#timers.nextDueMs
    return due === undefined ? Number.POSITIVE_INFINITY : Math.max(0, due - this.#behindMs)
  }

  /** Runs the timers whose time has come. */
  catchUp(): void {
    if (this.dueMs === 0) this.#timers.advance(this.#behindMs)
  }

  /** Moves a clock that stands still. */
  advance(ms: number): void {
    this.#timers.advance(ms)
  }

  /** How long ago it was when the timers were last moved. */
  get #behindMs(): number {
    return this.#machine ? this.#machine() - this.#startedAt - this.#timers.now() : 0
  }
}
