/** Time as the simulated kernel sees it: injected, so that a world can step it by hand. */
export interface Clock {
  /** Milliseconds since some fixed moment. */
  now(): number
  /** Runs `task` once, `delayMs` from now. */
  after(delayMs: number, task: () => void): Timer
}

export interface Timer {
  cancel(): void
}

interface Entry {
  readonly due: number
  readonly task: () => void
  cancelled: boolean
}

/** A clock that stands still until it is advanced; tasks run in the order of their due times. */
export class ManualClock implements Clock {
  #now = 0
  #entries: Entry[] = []

  now(): number {
    return this.#now
  }

  after(delayMs: number, task: () => void): Timer {
    const entry: Entry = { due: this.#now + delayMs, task, cancelled: false }
    const at = this.#entries.findIndex(other => other.due > entry.due)
    this.#entries.splice(at < 0 ? this.#entries.length : at, 0, entry)
    return {
      cancel: () => {
        entry.cancelled = true
      },
    }
  }

  /** Moves the time on by `ms`, running all that falls due on the way, new entries included. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = this.#entries[0]
      if (!next || next.due > end) break
      this.#entries.shift()
      this.#now = next.due
      if (!next.cancelled) next.task()
    }
    this.#now = end
  }

  /** Milliseconds until the next task falls due, or undefined when none waits. */
  get nextDueMs(): number | undefined {
    const next = this.#entries.find(entry => !entry.cancelled)
    return next && Math.max(0, next.due - this.#now)
  }
}
