import { SETTLE_MS, SETTLES_MAX } from './limits.ts'
import { perform } from './perform.ts'
import { Play } from './play.ts'
import type { Sequence, Step } from './sequence.ts'
import type { Stage } from './stage.ts'

/** What one step showed, and how long the kernel's timer needed after it. */
export interface Seen {
  readonly text: string
  readonly settles: number
}

/** What a whole sequence showed; the last entry is for its end. */
export type Score = readonly Seen[]

/** One sequence on one stage, step by step. */
export class Player {
  readonly play: Play
  readonly #stage: Stage

  constructor(stage: Stage) {
    this.#stage = stage
    this.play = new Play(stage)
  }

  /** Comes before the first step. */
  async begin(): Promise<void> {
    await this.#stage.begin()
  }

  /** Plays a step; what the model saw, if it was there before us, says what to wait for. */
  async step(step: Step, expected?: Seen): Promise<Seen> {
    const text = await this.#attempt(() => perform(this.play, step, expected?.text))
    return { text, settles: await this.#settle(expected) }
  }

  /** Gives everything back. */
  async end(expected?: Seen): Promise<Seen> {
    const text = await this.#attempt(async () => {
      await this.play.end()
      return 'ended'
    })
    return { text, settles: await this.#settle(expected) }
  }

  /** What throws is something that was seen too: a dead puppet, an address that is not there. */
  async #attempt(what: () => Promise<string>): Promise<string> {
    try {
      return await what()
    } catch (error) {
      return `error: ${error instanceof Error ? error.message : String(error)}`
    }
  }

  /**
   * A real kernel frees grants that were still mapped at their end by a timer, at any moment from
   * now on. So time passes at once, wherever the model says that it would make a difference.
   */
  async #settle(expected: Seen | undefined): Promise<number> {
    const { needsSettling } = this.#stage
    let settles = 0
    const isNeeded = (): boolean =>
      needsSettling ? needsSettling.call(this.#stage) : settles < (expected?.settles ?? 0)
    for (; settles < SETTLES_MAX && isNeeded(); settles++) await this.#stage.settle(SETTLE_MS)
    return settles
  }
}

/**
 * Plays a sequence; `score` is what the model saw. It ends with the first difference: what the
 * model would have waited for, or never touched, says nothing about what is there now.
 */
export async function playSequence(
  stage: Stage,
  sequence: Sequence,
  score?: Score,
): Promise<Score> {
  const player = new Player(stage)
  const seen: Seen[] = []
  await player.begin()
  for (const [i, step] of sequence.entries()) {
    const one = await player.step(step, score?.[i])
    seen.push(one)
    if (score && score[i]?.text !== one.text) {
      await player.end()
      return seen
    }
  }
  seen.push(await player.end(score?.[sequence.length]))
  return seen
}
