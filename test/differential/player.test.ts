import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { compilePlayer } from '../../src/conformance/c-puppet.ts'
import { firstDifference } from '../../src/differential/difference.ts'
import { compose } from '../../src/differential/generator.ts'
import { Model } from '../../src/differential/model.ts'
import { scoresOf, scriptFor } from '../../src/differential/xen-performer.ts'

let folder: string
let player: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'interdom-player-'))
  player = await compilePlayer(folder)
})
afterAll(() => rm(folder, { recursive: true }))

test('the player of a guest tells what each line did, and what its variables have now', () => {
  const lines = ['4 arena 26', '= 9 0', '4 dup $9 $8', '5 close $8', '= 10 -1', '4 close $10']
  const input = lines.map(line => `${line}\n`).join('')
  const { stdout, stderr, status } = spawnSync(player, ['peer'], { input, encoding: 'utf8' })
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
  // Process 5 has not what process 4 opened.
  expect(stdout).toMatch(/^\d+\n\.\n(\d+)\n= 8 \1\n\.\n-9\n\.\n-9\n\.\n$/)
})

// Where there are devices it would play on them.
test.skipIf(existsSync('/dev/xen'))(
  'the player comes to the end of its script, however much goes otherwise than in the model',
  async () => {
    const model = new Model('linux-6.12')
    const composed = []
    for (let seed = 1; seed <= 10; seed++) composed.push(await compose(model, seed))
    await model.close()
    const script = scriptFor(composed)
    const { stdout, stderr, status } = spawnSync(player, { input: script, encoding: 'utf8' })
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
    expect(stdout.split('\n')).toHaveLength(script.split('\n').length)
    const scores = await scoresOf(composed, stdout)
    for (const [n, { sequence, score }] of composed.entries()) {
      expect(firstDifference(sequence, score, scores[n] ?? [])).toBeDefined()
    }
  },
)
