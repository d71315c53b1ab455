import { seededRandom } from '../base/random.ts'
import { Dice } from './dice.ts'
import type { Model, Taken } from './model.ts'
import { coda, prologue, say } from './phrases.ts'
import { Player, playSequence, type Score, type Seen } from './player.ts'
import type { Sequence, Step } from './sequence.ts'
import { type Draft, Situation } from './situation.ts'

/** Steps before the last look at everything. */
const STEPS_MIN = 36
const STEPS_SPREAD = 24
/** So many in a hundred sequences may need the kernel's timer: each costs a second or more. */
const SETTLING_PERCENT = 40
/** So many of those let it come at some moment, needed or not. */
const WAITING_PERCENT = 10
/** So many destroy the other domain: a new one takes a machine ten seconds. */
const DESTROYING_PERCENT = 1

/** A sequence, and what it did and showed on the model. */
export interface Composed {
  readonly sequence: Sequence
  readonly score: Score
  readonly taken: readonly Taken[]
}

/** What a sequence that is there already does on the model. */
export async function rehearse(model: Model, sequence: Sequence): Promise<Composed> {
  await model.renew()
  const score = await playSequence(model, sequence)
  return { sequence, score, taken: model.taken }
}

export interface ComposeOptions {
  /** False where the other domain is needed afterwards. Default true. */
  readonly destroys?: boolean
}

/**
 * Makes the sequence of a seed. It is played on the model while it is made, so that most steps do
 * something: the generator knows what is open, allocated, mapped and bound.
 */
export async function compose(
  model: Model,
  seed: number,
  { destroys = true }: ComposeOptions = {},
): Promise<Composed> {
  const dice = new Dice(seededRandom(seed))
  const maySettle = dice.chance(SETTLING_PERCENT)
  const special: Draft[] = []
  if (maySettle && dice.chance(WAITING_PERCENT)) special.push({ do: 'settle' })
  if (destroys && model.domains === 2 && dice.chance(DESTROYING_PERCENT)) {
    special.push({ do: 'destroy' })
  }
  for (;;) {
    await model.renew()
    const composed = await composeOnce(model, dice, special)
    if (maySettle || composed.score.every(({ settles }) => settles === 0)) return composed
  }
}

/** `special` steps come once, anywhere. */
async function composeOnce(model: Model, dice: Dice, special: readonly Draft[]): Promise<Composed> {
  const player = new Player(model)
  const situation = new Situation(player.play, dice)
  const sequence: Step[] = []
  const score: Seen[] = []
  const add = async (steps: readonly Step[]): Promise<void> => {
    for (const step of steps) {
      sequence.push(step)
      score.push(await player.step(step))
    }
  }
  const length = STEPS_MIN + dice.below(STEPS_SPREAD)
  const later = special.map(draft => ({ draft, at: dice.below(length) }))
  await player.begin()
  await add(prologue(situation))
  while (sequence.length < length) {
    for (const { draft, at } of later) {
      const isDone = sequence.some(step => step.do === draft.do)
      if (sequence.length >= at && !isDone) await add([situation.step(draft)])
    }
    await add(say(situation))
  }
  await add(coda(situation))
  score.push(await player.end())
  model.assertEmpty()
  return { sequence, score, taken: model.taken }
}
