import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** A domain whose shell the script drives: see fixtures/two-shells.mjs. */
export interface ShellSide {
  readonly domid: number
  /** Runs a shell's text in the domain: this and the text as its last word. */
  readonly run: readonly [string, ...string[]]
  /** The text that becomes the domain's interdom shell. */
  readonly shell: string
}

/** The program that plays the script and prints what was said. */
export const TWO_SHELLS = fileURLToPath(new URL('./fixtures/two-shells.mjs', import.meta.url))

/** Its one argument. */
export function sidesArgument(sides: { A: ShellSide; B: ShellSide }): string {
  return JSON.stringify(sides)
}

/** What it prints, wherever the two domains are. */
export function expectedTranscript(): string {
  return readFileSync(new URL('./fixtures/two-shells.txt', import.meta.url), 'utf8')
}
