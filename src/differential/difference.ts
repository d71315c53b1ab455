import { createHash } from 'node:crypto'
import type { Score } from './player.ts'
import { describeStep, type Sequence, type StepId } from './sequence.ts'

/** Where two plays of one sequence first went apart. */
export interface Difference {
  /** The step, or undefined for what the end of the sequence showed. */
  readonly step: StepId | undefined
  readonly expected: string
  readonly seen: string
}

/** The first difference between what the model saw and what a stage showed. */
export function firstDifference(
  sequence: Sequence,
  expected: Score,
  seen: Score,
): Difference | undefined {
  for (const [i, { text }] of expected.entries()) {
    const other = seen[i]?.text ?? 'nothing'
    if (text !== other) return { step: sequence[i]?.id, expected: text, seen: other }
  }
  return undefined
}

/** A sequence as lines, each with what the model saw; the step that differs says both. */
export function transcript(sequence: Sequence, expected: Score, seen: Score): string[] {
  return sequence.map((step, i) => {
    const [ours, theirs] = [expected[i]?.text, seen[i]?.text]
    const line = `${describeStep(step)}  →  ${ours}`
    return theirs === undefined || ours === theirs ? line : `${line}  ≠  ${theirs}`
  })
}

/** A word for all that was seen: equal for equal plays on two machines that never met. */
export function digestOf(score: Score): string {
  const hash = createHash('sha256')
  for (const { text } of score) hash.update(`${text}\n`)
  return hash.digest('hex').slice(0, 16)
}
