import { randomInt } from 'node:crypto'
import { expect, test } from 'vitest'
import { createHostRig } from '../../src/conformance/host-rig.ts'
import { RigStage } from '../../src/differential/rig-stage.ts'
import { runDifferential } from '../../src/differential/run.ts'
import type { Domains } from '../../src/differential/stage.ts'
import { PROFILE_NAMES } from '../../src/kernel/profiles.ts'

/** How many sequences, by how many domains they have. */
const COUNTS: readonly (readonly [Domains, number])[] = [
  [1, 25],
  [2, 15],
]
const SEED_END = 2 ** 31

/** Another seed each time; a run is repeated with the one that it printed. */
const { INTERDOM_SEED } = process.env
const seed = INTERDOM_SEED ? Number(INTERDOM_SEED) : randomInt(SEED_END)

for (const profile of PROFILE_NAMES) {
  for (const [domains, count] of COUNTS) {
    const what = `${count} sequences with ${domains} of its domains`
    test(`a host answers ${what} as a world does (${profile}, INTERDOM_SEED=${seed})`, {
      timeout: 180_000,
    }, async () => {
      const stage = new RigStage(await createHostRig({ profile }), domains)
      const report = await runDifferential(stage, { profile, seed, count, domains })
      await stage.close()
      expect(report.differences.map(({ transcript }) => transcript)).toEqual([])
      expect(report.digests).toHaveLength(count)
      expect(report.steps).toBeGreaterThanOrEqual(30 * count)
    })
  }
}
