import { afterAll, describe, expect, test } from 'vitest'
import { CASES } from '../../src/conformance/cases/index.ts'
import { runCase } from '../../src/conformance/runner.ts'
import { createSimRig } from '../../src/conformance/sim-rig.ts'
import { PROFILE_NAMES } from '../../src/kernel/profiles.ts'

for (const profile of PROFILE_NAMES) {
  describe(`a world with ${profile}`, () => {
    const rig = createSimRig({ profile })
    afterAll(() => rig.close())

    for (const one of CASES) {
      test(`${one.id} ${one.title}`, async context => {
        const { outcome, capability, detail } = await runCase(rig, one)
        if (outcome === 'skipped') context.skip(`needs ${capability}`)
        expect(detail).toBeUndefined()
      })
    }
  })
}
