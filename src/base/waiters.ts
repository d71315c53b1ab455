interface Waiter {
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
  readonly signal: AbortSignal | undefined
  abort: (() => void) | undefined
}

/**
 * Promises that wait for one condition: all are settled together, and each leaves when its signal
 * aborts. Whoever owns it hears when the first comes and when the last has gone, so that a wait
 * keeps the process alive and an idle device does not.
 */
export class Waiters {
  /** Made for the first who waits: there are ports by the thousand that nobody awaits. */
  #waiting: Set<Waiter> | undefined
  readonly #busy: (isWaiting: boolean) => void

  constructor(busy: (isWaiting: boolean) => void = () => undefined) {
    this.#busy = busy
  }

  get isWaiting(): boolean {
    return this.#waiting !== undefined && this.#waiting.size > 0
  }

  /** Resolves at the next `wake()`; rejects with the signal's reason, or with that of `fail()`. */
  wait(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error)
    return new Promise<void>((resolve, reject) => {
      const waiter: Waiter = { resolve, reject, signal, abort: undefined }
      if (signal) {
        waiter.abort = () => this.#leave(waiter).reject(signal.reason)
        signal.addEventListener('abort', waiter.abort)
      }
      this.#waiting ??= new Set()
      this.#waiting.add(waiter)
      if (this.#waiting.size > 1) return
      try {
        this.#busy(true)
      } catch (error) {
        // Nothing would wake it; the next one may have more luck.
        this.#leave(waiter).reject(error)
      }
    })
  }

  wake(): void {
    for (const waiter of [...(this.#waiting ?? [])]) this.#leave(waiter).resolve()
  }

  fail(reason: unknown): void {
    for (const waiter of [...(this.#waiting ?? [])]) this.#leave(waiter).reject(reason)
  }

  #leave(waiter: Waiter): Waiter {
    this.#waiting?.delete(waiter)
    if (waiter.abort) waiter.signal?.removeEventListener('abort', waiter.abort)
    if (!this.isWaiting) this.#busy(false)
    return waiter
  }
}
