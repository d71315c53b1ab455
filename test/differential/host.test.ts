import { randomInt } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createHostRig } from '../../src/conformance/host-rig.ts'
import { RigStage } from '../../src/differential/rig-stage.ts'
import { runDifferential } from '../../src/differential/run.ts'
import { PROFILE_NAMES } from '../../src/kernel/profiles.ts'

const COUNT = 25
const SEED_END = 2 ** 31

/** Another seed each time; a run is repeated with the one that it printed. */
const { INTERDOM_SEED } = process.env
const seed = INTERDOM_SEED ? Number(INTERDOM_SEED) : randomInt(SEED_END)

for (const profile of PROFILE_NAMES) {
  let stage: RigStage
  beforeAll(async () => {
    stage = new RigStage(await createHostRig({ profile }))
  })
  afterAll(() => stage.close())

  test(`a host answers ${COUNT} sequences as a world does (${profile}, INTERDOM_SEED=${seed})`, {
    timeout: 180_000,
  }, async () => {
    const report = await runDifferential(stage, { profile, seed, count: COUNT })
    expect(report.differences.map(({ transcript }) => transcript)).toEqual([])
    expect(report.digests).toHaveLength(COUNT)
    expect(report.steps).toBeGreaterThanOrEqual(30 * COUNT)
  })
}
