import { type Frame, type FrameRun, NO_FRAME } from './page-store.ts'

/**
 * Puts pages that come one by one into as few runs as there are. A class and no function with a
 * callback, since V8 calls that once for each page.
 */
export class FrameRuns {
  readonly #ended: FrameRun[] = []
  #first: Frame = NO_FRAME
  #count = 0

  add(frame: Frame): void {
    if (frame !== (this.#first === NO_FRAME ? NO_FRAME : this.#first + this.#count)) {
      this.#end()
      this.#first = frame
    }
    this.#count++
  }

  /** The pages that were added, in that order. */
  get all(): FrameRun[] {
    this.#end()
    return this.#ended
  }

  #end(): void {
    if (this.#count > 0) this.#ended.push({ first: this.#first, count: this.#count })
    this.#count = 0
  }
}

/** Every page of the runs by itself. */
export function framesOf(runs: readonly FrameRun[]): Frame[] {
  return runs.flatMap(({ first, count }) =>
    Array.from({ length: count }, (_, i) => (first === NO_FRAME ? NO_FRAME : first + i)),
  )
}
