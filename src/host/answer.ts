import type { BodyWriter } from './wire.ts'

/** What a request is answered with, besides the body that was written. */
export interface Answer {
  readonly result: number
  /** Descriptors that stay open here. */
  readonly fds?: readonly number[]
  /** Descriptors that were made for this answer. */
  readonly ownedFds?: readonly number[]
}

/** A call that takes several turns: goes on by a slice, and tells its answer when it has one. */
export type LongCall = (answer: BodyWriter) => Answer | undefined
