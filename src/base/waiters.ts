/**
 * Promises that wait for one condition: all are settled together, and each leaves when its signal
 * aborts. Whoever owns it hears when the first comes and when the last has gone, so that a wait
 * keeps the process alive and an idle device does not.
 */
export class Waiters {
  readonly #waiting = new Map<object, { resolve: () => void; reject: (reason: unknown) => void }>()
  readonly #busy: (isWaiting: boolean) => void

  constructor(busy: (isWaiting: boolean) => void = () => undefined) {
    this.#busy = busy
  }

  get isWaiting(): boolean {
    return this.#waiting.size > 0
  }

  /** Resolves at the next `wake()`; rejects with the signal's reason, or with that of `fail()`. */
  wait(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error)
    return new Promise<void>((resolve, reject) => {
      const key = {}
      const leave = (): void => {
        this.#waiting.delete(key)
        signal?.removeEventListener('abort', abort)
        if (this.#waiting.size === 0) this.#busy(false)
      }
      const abort = (): void => {
        leave()
        reject(signal?.reason as Error)
      }
      signal?.addEventListener('abort', abort)
      this.#waiting.set(key, {
        resolve: () => {
          leave()
          resolve()
        },
        reject: reason => {
          leave()
          reject(reason as Error)
        },
      })
      if (this.#waiting.size === 1) this.#busy(true)
    })
  }

  wake(): void {
    for (const waiter of [...this.#waiting.values()]) waiter.resolve()
  }

  fail(reason: unknown): void {
    for (const waiter of [...this.#waiting.values()]) waiter.reject(reason)
  }
}
