import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { expectedTranscript, type ShellSide, sidesArgument, TWO_SHELLS } from './two-shells.ts'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const execute = promisify(execFile)

/** Arguments as a shell takes them. */
const quoted = (words: readonly string[]): string => words.map(word => `'${word}'`).join(' ')

test('two shells on a host say what two shells on Xen say', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'interdom-test-'))
  onTestFinished(async () => {
    await execute(process.execPath, [MAIN, 'host', 'stop', '--dir', directory])
    rmSync(directory, { recursive: true, force: true })
  })
  const { INTERDOM_PLATFORM: _, ...env } = process.env
  const side = (domid: number): ShellSide => {
    const words = [MAIN, 'shell', '--domid', String(domid), '--host', directory]
    const shell = `exec ${quoted([process.execPath, ...words])}`
    return { domid, run: ['sh', '-c'], shell }
  }
  const sides = sidesArgument({ A: side(1), B: side(2) })
  const { stdout } = await execute(process.execPath, [TWO_SHELLS, sides], { env })
  expect(stdout).toBe(expectedTranscript())
})
