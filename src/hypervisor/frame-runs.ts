import { type Frame, type FrameRun, NO_FRAME } from './page-store.ts'

/**
 * The runs that `count` frames make, each `stride` words behind the one before it from the word
 * `at` on. They come as numbers, since a function that is asked for each is called for each.
 */
export function frameRuns(words: Int32Array, count: number, at = 0, stride = 1): FrameRun[] {
  const runs: FrameRun[] = []
  const end = at + count * stride
  for (let next = at; next < end; ) {
    const first = words[next] as Frame
    const step = first === NO_FRAME ? 0 : 1
    let length = 1
    next += stride
    while (next < end && words[next] === first + step * length) {
      length++
      next += stride
    }
    runs.push({ first, count: length })
  }
  return runs
}

/** Every page of the runs by itself. */
export function framesOf(runs: readonly FrameRun[]): Frame[] {
  return runs.flatMap(({ first, count }) =>
    Array.from({ length: count }, (_, i) => (first === NO_FRAME ? NO_FRAME : first + i)),
  )
}
