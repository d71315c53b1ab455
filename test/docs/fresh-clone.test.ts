import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { blocksOf } from './blocks.ts'
import { cleanEnvironment } from './workshop.ts'

/** It installs every package. */
const WITHIN_MS = 600_000

const folder = mkdtempSync(join(tmpdir(), 'interdom-clone-'))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function run(command: string, cwd: string): { status: number | null; output: string } {
  const options = { cwd, env: cleanEnvironment(), encoding: 'utf8' } as const
  const { status, stdout, stderr } = spawnSync('bash', ['-c', command], options)
  return { status, output: stdout + stderr }
}

test(
  "README's first command does the demo in a fresh clone of what is committed",
  () => {
    const [first] = blocksOf('README.md')
    expect(first).toMatchObject({ language: 'sh' })
    expect(run(`git clone --quiet '${resolve('.')}' clone`, folder)).toMatchObject({ status: 0 })
    const { status, output } = run(first?.code ?? '', join(folder, 'clone'))
    expect(status, output).toBe(0)
    expect(output).toContain('Everything was as it should be.')
  },
  WITHIN_MS,
)
