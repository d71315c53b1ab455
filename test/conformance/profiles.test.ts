import { expect, test } from 'vitest'
import { runConformance } from '../../src/conformance/runner.ts'
import { createSimRig } from '../../src/conformance/sim-rig.ts'
import {
  type KernelProfile,
  type KernelRules,
  PROFILE_NAMES,
  PROFILES,
} from '../../src/kernel/profiles.ts'
import { createWorld } from '../../src/sim/index.ts'

/** For each field, the cases that must notice when a kernel does otherwise than it says. */
const NOTICED: Readonly<Record<keyof KernelRules, readonly number[]>> = {
  unknownIoctl: [2, 3, 5, 6, 7, 8, 282],
  inheritsMappings: [44, 67],
  mapsBareFrames: [247, 268, 269, 301],
  holdsNotifyPorts: [71, 81, 86, 152, 235, 404],
  checksCountFirst: [26],
  freesByTimer: [58, 60],
  returnsRefs: [226, 227, 228, 501],
  releasesEveryPage: [403],
  limitsEachMap: [92, 401],
  gntdevLimit: [92],
  badElements: [94],
  withdrawsUnreadMaps: [400],
  mapsOnce: [106],
  mapsForAnyProcess: [275],
  clearsByteFirst: [340],
  sealsPrivateMappings: [109],
  hasGrantCopy: [166, 171, 181],
  ringGrows: [217, 258],
  hasRestrictDomid: [209, 210, 214],
  hasBindStatic: [12, 225],
}

/** Fields that only a domain of this kind can show. */
const HVM_ALONE: readonly (keyof KernelRules)[] = ['clearsByteFirst']

/** What a field may be instead: whatever it is in another profile. */
function othersOf(profile: KernelProfile, field: keyof KernelRules): KernelProfile[] {
  const values = new Set(PROFILE_NAMES.map(name => PROFILES[name][field]))
  values.delete(profile[field])
  return [...values].map(value => ({ ...profile, [field]: value }))
}

/** Runs cases that expect `profile` on worlds whose kernel is `kernel`. */
async function outcomes(
  profile: KernelProfile,
  kernel: KernelProfile,
  field: keyof KernelRules,
): Promise<Record<string, string>> {
  const kind = HVM_ALONE.includes(field) ? 'hvm' : 'pv'
  const ids = NOTICED[field]
  const rig = createSimRig({ profile, kind, createWorld: () => createWorld({ kernel }) })
  try {
    const { cases } = await runConformance(rig, { filter: ({ id }) => ids.includes(id) })
    return Object.fromEntries(cases.map(one => [one.id, one.outcome]))
  } finally {
    await rig.close()
  }
}

for (const name of PROFILE_NAMES) {
  test.each(Object.keys(NOTICED) as (keyof KernelRules)[])(
    `${name} with another %s is noticed`,
    async field => {
      const profile = PROFILES[name]
      const others = othersOf(profile, field)
      expect(others.length).toBeGreaterThan(0)
      const passed = Object.fromEntries(NOTICED[field].map(id => [id, 'passed']))
      expect(await outcomes(profile, profile, field)).toEqual(passed)
      for (const kernel of others) {
        expect(Object.values(await outcomes(profile, kernel, field))).toContain('failed')
      }
    },
  )

  test(`${name} with another kind is noticed`, async () => {
    const profile = PROFILES[name]
    const rig = createSimRig({
      profile,
      createWorld: kernel => {
        const world = createWorld({ kernel })
        world.domain(1, { kind: 'hvm' })
        return world
      },
    })
    const report = await runConformance(rig, {
      filter: ({ id }) => [122, 141, 159, 238].includes(id),
    })
    await rig.close()
    expect(report.cases.map(one => one.outcome)).toEqual(Array(4).fill('failed'))
  })
}
