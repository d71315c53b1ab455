import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { runWithPackage } from '../conformance/xen-testbed.ts'
import type { RunResult } from '../testbed/run.ts'
import type { Composed } from './generator.ts'
import type { Performer } from './performer.ts'
import { playSequence, type Score } from './player.ts'
import { scriptOf } from './script.ts'
import type { Domains } from './stage.ts'
import { TapeStage } from './tape-stage.ts'

/** The domains of the model, which stand for those of the player. */
const DOM0 = 0
const GUEST = 1
const LOOK_EVERY_MS = 50
/** Of the machine; it ends by itself when this is over. */
const TIMEOUT_SECONDS = 900

/** In dom0: plays each script that appears in its folder, until one is empty. */
const SERVE = [
  // The guest that the machine starts with, if there is one.
  'echo 1 >/tmp/guest',
  'n=0',
  'while :; do',
  '  until [ -e /host/script.$n ]; do sleep 0.05; done',
  '  [ -s /host/script.$n ] || exit 0',
  // Each line would be a round trip to the folder of the host.
  '  /payload/player /tmp/guest </host/script.$n >/tmp/tape || exit',
  '  cp /tmp/tape /host/playing && mv /host/playing /host/tape.$n',
  '  n=$((n + 1))',
  'done',
].join('\n')

export interface XenPerformerOptions {
  /** Debian package of the kernel. */
  readonly kernel?: string
  readonly domains?: Domains
  readonly onStep?: (text: string) => void
  readonly signal?: AbortSignal
}

/** Real Xen in an emulated machine: dom0 plays scripts, and here their tapes are read. */
export class XenPerformer implements Performer {
  readonly #folder: string
  readonly #machine: Promise<RunResult>
  #failure: unknown
  #scripts = 0

  static async start(options: XenPerformerOptions = {}): Promise<XenPerformer> {
    return new XenPerformer(await mkdtemp(join(tmpdir(), 'interdom-differential-')), options)
  }

  private constructor(folder: string, options: XenPerformerOptions) {
    this.#folder = folder
    const { domains = 1, ...rest } = options
    this.#machine = runWithPackage({
      ...rest,
      dom0: SERVE,
      guests: domains - 1,
      out: folder,
      timeoutSeconds: TIMEOUT_SECONDS,
    })
    this.#machine.then(
      ({ domains }) => {
        this.#failure = new Error(`the player has ended: ${domains.dom0?.stderr}`)
      },
      (error: unknown) => {
        this.#failure = error
      },
    )
  }

  async perform(composed: readonly Composed[]): Promise<Score[]> {
    return scoresOf(composed, await this.#play(scriptFor(composed)))
  }

  /** Nothing of a script is left for the next: its processes are gone. */
  async renew(): Promise<void> {}

  async close(): Promise<void> {
    await this.#write('')
    await this.#machine
    await rm(this.#folder, { recursive: true, force: true })
  }

  async #play(script: string): Promise<string> {
    // One that is empty would end the machine; a sequence made short may make no call at all.
    if (script === '') return ''
    const tape = join(this.#folder, `tape.${this.#scripts}`)
    await this.#write(script)
    while (!existsSync(tape)) {
      if (this.#failure) throw this.#failure
      await setTimeout(LOOK_EVERY_MS)
    }
    return readFile(tape, 'utf8')
  }

  /** Renamed into place, for dom0 looks at it at any moment. */
  async #write(script: string): Promise<void> {
    const path = join(this.#folder, `script.${this.#scripts++}`)
    await writeFile(`${path}.new`, script)
    await rename(`${path}.new`, path)
  }
}

/** The scripts of some sequences, one after the other. */
export function scriptFor(composed: readonly Composed[]): string {
  return composed
    .flatMap(({ taken }) => scriptOf(taken))
    .map(line => `${line}\n`)
    .join('')
}

/** What the sequences showed, by the tape that was made of their scripts. */
export async function scoresOf(composed: readonly Composed[], tape: string): Promise<Score[]> {
  const lines = tape.split('\n')
  const scores: Score[] = []
  let from = 0
  for (const { sequence, score, taken } of composed) {
    const isPair = taken.some(one => 'guest' in one)
    const stage = new TapeStage(
      isPair ? [DOM0, GUEST] : [DOM0],
      lines.slice(from, from + taken.length),
    )
    scores.push(await playSequence(stage, sequence, score))
    from += taken.length
  }
  return scores
}
