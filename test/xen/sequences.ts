import { randomInt } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { firstDifference, transcript } from '../../src/differential/difference.ts'
import { type Composed, compose } from '../../src/differential/generator.ts'
import { Model } from '../../src/differential/model.ts'
import { scoresOf, scriptFor } from '../../src/differential/xen-performer.ts'
import type { ProfileName } from '../../src/kernel/profiles.ts'

const COUNT = 60
/** More of them, with processes of dom0 and of its first guest. */
const PAIR_COUNT = 15
const GUEST = 1
const SEED_END = 2 ** 31
const SCRIPT = 'sequences.script'
export const TAPE = 'sequences.tape'

/** What makes dom0 play the script of {@link Sequences.writeTo} and write the tape. */
export const PLAY_COMMAND: string = [
  `echo ${GUEST} >/tmp/guest`,
  `/payload/player /tmp/guest </payload/dom0/${SCRIPT} >/tmp/${TAPE}`,
  // Each line would be a round trip to the folder of the host.
  `cp /tmp/${TAPE} /host/${TAPE}`,
].join('; ')

/** How sequences went: the seed that makes them again, and those on which Xen and a world differ. */
export interface SequencesReport {
  readonly seed: number
  readonly count: number
  readonly differing: readonly (readonly string[])[]
}

/** Random sequences of calls for a kernel, others each time unless INTERDOM_SEED says which. */
export class Sequences {
  readonly #seed: number
  readonly #composed: readonly Composed[]

  static async compose(profile: ProfileName): Promise<Sequences> {
    const { INTERDOM_SEED } = process.env
    const seed = INTERDOM_SEED ? Number(INTERDOM_SEED) : randomInt(SEED_END)
    const composed: Composed[] = []
    const add = async (model: Model, count: number): Promise<void> => {
      for (let n = 0; n < count; n++) {
        // Whoever comes next wants the guest too.
        composed.push(await compose(model, seed + n, { destroys: false }))
      }
      await model.close()
    }
    await add(new Model(profile), COUNT)
    await add(new Model(profile, 2), PAIR_COUNT)
    return new Sequences(seed, composed)
  }

  private constructor(seed: number, composed: readonly Composed[]) {
    this.#seed = seed
    this.#composed = composed
  }

  /** Writes the script into a folder; answers the file that dom0 needs. */
  async writeTo(folder: string): Promise<string> {
    const path = join(folder, SCRIPT)
    await writeFile(path, scriptFor(this.#composed))
    return path
  }

  async compare(tape: string): Promise<SequencesReport> {
    const scores = await scoresOf(this.#composed, tape)
    const differing = this.#composed.flatMap(({ sequence, score }, n) => {
      const seen = scores[n] ?? []
      const difference = firstDifference(sequence, score, seen)
      const isPair = n >= COUNT
      const again = isPair
        ? `--domains 2 --seed ${this.#seed + n - COUNT}`
        : `--seed ${this.#seed + n}`
      return difference ? [[again, ...transcript(sequence, score, seen)]] : []
    })
    return { seed: this.#seed, count: this.#composed.length, differing }
  }
}
