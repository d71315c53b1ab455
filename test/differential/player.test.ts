import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { compilePlayer } from '../../src/conformance/c-puppet.ts'
import { firstDifference } from '../../src/differential/difference.ts'
import { compose } from '../../src/differential/generator.ts'
import { Model } from '../../src/differential/model.ts'
import { scoresOf, scriptFor } from '../../src/differential/xen-performer.ts'

// Where there are devices it would play on them.
test.skipIf(existsSync('/dev/xen'))(
  'the player comes to the end of its script, however much goes otherwise than in the model',
  async () => {
    const model = new Model('linux-6.12')
    const composed = []
    for (let seed = 1; seed <= 10; seed++) composed.push(await compose(model, seed))
    await model.close()
    const folder = await mkdtemp(join(tmpdir(), 'interdom-player-'))
    try {
      const player = await compilePlayer(folder)
      const script = scriptFor(composed)
      const { stdout, stderr, status } = spawnSync(player, { input: script, encoding: 'utf8' })
      expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
      expect(stdout.split('\n')).toHaveLength(script.split('\n').length)
      const scores = await scoresOf(composed, stdout)
      for (const [n, { sequence, score }] of composed.entries()) {
        expect(firstDifference(sequence, score, scores[n] ?? [])).toBeDefined()
      }
    } finally {
      await rm(folder, { recursive: true })
    }
  },
)
