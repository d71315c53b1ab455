import { afterAll, describe, expect, test } from 'vitest'
import { CASES } from '../../src/conformance/cases/index.ts'
import { runCase } from '../../src/conformance/runner.ts'
import { createSimRig } from '../../src/conformance/sim-rig.ts'
import { PROFILE_NAMES, PROFILES } from '../../src/kernel/profiles.ts'

const COMBINATIONS = PROFILE_NAMES.flatMap(profile => [
  { profile, kind: 'pv' as const },
  { profile, kind: 'hvm' as const },
])

for (const { profile, kind } of COMBINATIONS) {
  describe(`a world with ${profile} in ${kind}`, () => {
    const rig = createSimRig({ profile: PROFILES[profile], kind })
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
