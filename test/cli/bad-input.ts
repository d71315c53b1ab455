import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Shell texts that bring about what fixtures/bad-input.mjs is to be refused in. */
export interface BadInputCommands {
  /** Lowers both limits to 8 pages. */
  readonly lower: string
  readonly raise: string
  /** Takes the right to connect away from a user who is not root, and gives it back. */
  readonly close: string
  readonly open: string
  /** Destroys domain B. */
  readonly destroy: string
  /** Takes the module of gntalloc out of A's kernel, and brings it back. */
  readonly remove: string
  readonly restore: string
}

export interface BadInputPlace {
  /** Folder of the compiled package, where A is. */
  readonly dist: string
  readonly A: number
  /** A number, or the word for it of a shell. */
  readonly B: number | string
  /** The command that runs the peer in domain B. */
  readonly peer: readonly [string, ...string[]]
  readonly commands: BadInputCommands
  /** What the message of a reached limit names in this place. */
  readonly knobs: readonly string[]
}

const here = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url))

export const BAD_INPUT: string = here('bad-input.mjs')
export const BAD_INPUT_PEER: string = here('bad-input-peer.mjs')

/** What it prints, wherever it runs. */
export function expectedRefusals(): string {
  return readFileSync(here('bad-input.txt'), 'utf8')
}
