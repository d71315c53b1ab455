import type { ProfileName } from '../kernel/profiles.ts'
import { type Difference, digestOf, firstDifference, transcript } from './difference.ts'
import { type Composed, compose, rehearse } from './generator.ts'
import { CONFIRMATIONS, SEQUENCES_PER_SCRIPT } from './limits.ts'
import { Model } from './model.ts'
import type { Performer } from './performer.ts'
import type { Score } from './player.ts'
import type { Sequence } from './sequence.ts'
import { shrink } from './shrinker.ts'
import type { Domains } from './stage.ts'

export interface DifferentialOptions {
  readonly profile: ProfileName
  /** The seed of the first sequence; the n-th has the n-th after it. */
  readonly seed: number
  readonly count: number
  /** How many domains the sequences have. Default 1. */
  readonly domains?: Domains
  /** Told of each difference when it was made short. */
  readonly onDifference?: (difference: FoundDifference) => void
}

/** A sequence on which stage and model went apart, made short. */
export interface FoundDifference extends Difference {
  readonly seed: number
  readonly sequence: Sequence
  /** For a person: each step with what it showed. */
  readonly transcript: readonly string[]
}

/** How a run of sequences went. */
export interface DifferentialReport {
  readonly seed: number
  readonly count: number
  /** Steps that were played. */
  readonly steps: number
  /** How often the kernel's timer was waited for. */
  readonly settles: number
  readonly differences: readonly FoundDifference[]
  /** Seeds whose sequence went apart once and not again. */
  readonly unsteady: readonly number[]
  /** A word for what each sequence showed, in their order. */
  readonly digests: readonly string[]
}

/** Lets sequences be played and compares each with the model. */
export async function runDifferential(
  performer: Performer,
  { profile, seed, count, domains = 1, onDifference }: DifferentialOptions,
): Promise<DifferentialReport> {
  const model = new Model(profile, domains)
  const differences: FoundDifference[] = []
  const unsteady: number[] = []
  const digests: string[] = []
  let steps = 0
  let settles = 0
  for (let first = seed; first < seed + count; first += SEQUENCES_PER_SCRIPT) {
    const batch: Composed[] = []
    const end = Math.min(first + SEQUENCES_PER_SCRIPT, seed + count)
    for (let n = first; n < end; n++) batch.push(await compose(model, n))
    const scores = await performer.perform(batch)
    for (const [i, { sequence, score }] of batch.entries()) {
      const seen = scores[i] ?? []
      digests.push(digestOf(seen))
      steps += sequence.length
      for (const one of score) settles += one.settles
      const differs = firstDifference(sequence, score, seen) !== undefined
      const found = differs ? await examine(model, performer, first + i, sequence) : undefined
      if (found) {
        differences.push(found)
        onDifference?.(found)
      } else if (differs) unsteady.push(first + i)
    }
  }
  await model.close()
  return { seed, count, steps, settles, differences, unsteady, digests }
}

interface Attempt {
  readonly expected: Score
  readonly seen: Score
  readonly difference: Difference | undefined
}

/** Whether the difference comes again, and the shortest sequence that shows one. */
async function examine(
  model: Model,
  performer: Performer,
  seed: number,
  sequence: Sequence,
): Promise<FoundDifference | undefined> {
  const attempt = async (candidate: Sequence): Promise<Attempt> => {
    const composed = await rehearse(model, candidate)
    const expected = composed.score
    await performer.renew()
    const [seen = []] = await performer.perform([composed])
    return { expected, seen, difference: firstDifference(candidate, expected, seen) }
  }
  const differs = async (candidate: Sequence): Promise<boolean> =>
    (await attempt(candidate)).difference !== undefined
  for (let i = 0; i < CONFIRMATIONS; i++) if (!(await differs(sequence))) return undefined
  const shortest = await shrink(sequence, differs)
  const { expected, seen, difference } = await attempt(shortest)
  if (!difference) return undefined
  const lines = transcript(shortest, expected, seen)
  return { seed, ...difference, sequence: shortest, transcript: lines }
}
