import assert from 'node:assert/strict'
import { ERRNO, type ErrnoName, errnoName } from '../abi/errno.ts'

/** What a call of the seam answered: the bare result, or one with more beside it. */
export type Answer = number | { readonly result: number }

/** Asserts that a call succeeded and hands its answer on. */
export async function ok<A extends Answer>(answer: A | Promise<A>): Promise<A> {
  const settled = await answer
  const result = resultOf(settled)
  if (result < 0) assert.fail(`expected success, got ${errnoName(result)}`)
  return settled
}

/** Asserts that a call was refused with exactly this errno. */
export async function refused(errno: ErrnoName, answer: Answer | Promise<Answer>): Promise<void> {
  const result = resultOf(await answer)
  if (result === -ERRNO[errno]) return
  assert.fail(`expected ${errno}, got ${result < 0 ? errnoName(result) : result}`)
}

function resultOf(answer: Answer): number {
  return typeof answer === 'number' ? answer : answer.result
}
