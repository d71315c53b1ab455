import { seededRandom } from '../base/random.ts'
import { Dice } from './dice.ts'
import type { Model, Taken } from './model.ts'
import { coda, PHRASES, prologue } from './phrases.ts'
import { Player, playSequence, type Score, type Seen } from './player.ts'
import type { Sequence, Step } from './sequence.ts'
import { Situation } from './situation.ts'

/** Steps before the last look at everything. */
const STEPS_MIN = 36
const STEPS_SPREAD = 24
/** So many in a hundred sequences may need the kernel's timer: each costs a second or more. */
const SETTLING_PERCENT = 40

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

/**
 * Makes the sequence of a seed. It is played on the model while it is made, so that most steps do
 * something: the generator knows what is open, allocated, mapped and bound.
 */
export async function compose(model: Model, seed: number): Promise<Composed> {
  const dice = new Dice(seededRandom(seed))
  const maySettle = dice.chance(SETTLING_PERCENT)
  for (;;) {
    await model.renew()
    const composed = await composeOnce(model, dice)
    if (maySettle || composed.score.every(({ settles }) => settles === 0)) return composed
  }
}

async function composeOnce(model: Model, dice: Dice): Promise<Composed> {
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
  await add(prologue(situation))
  while (sequence.length < length) await add(dice.weighted(PHRASES)?.(situation) ?? [])
  await add(coda(situation))
  score.push(await player.end())
  model.assertEmpty()
  return { sequence, score, taken: model.taken }
}
