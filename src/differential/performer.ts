import type { Composed } from './generator.ts'
import type { Score } from './player.ts'

/** Who plays sequences to compare them with the model. */
export interface Performer {
  /** What each sequence showed. */
  perform(composed: readonly Composed[]): Promise<Score[]>
  /** After a difference: as new, whatever was left behind. */
  renew(): Promise<void>
  /** Throws when something was left behind. */
  close(): Promise<void>
}
