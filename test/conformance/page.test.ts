import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { kept, keptReports, pageOf } from '../../scripts/conformance-page.mjs'
import { CASES } from '../../src/conformance/cases/index.ts'
import { runConformance } from '../../src/conformance/runner.ts'
import { createSimRig } from '../../src/conformance/sim-rig.ts'
import { PROFILES, type ProfileName } from '../../src/kernel/profiles.ts'

/** What to do when one of these fails, once the change is meant. */
const REFRESH = 'npm run build && npm run conformance:page -- sim host'

test('the page of conformance is what its reports say', () => {
  const page = readFileSync(new URL('../../docs/conformance.md', import.meta.url), 'utf8')
  expect(pageOf(keptReports(), CASES), REFRESH).toBe(page)
})

test.each(keptReports().filter(({ platform }) => platform === 'sim'))(
  'a world with $profile in $kind does today what its report says',
  async report => {
    const rig = createSimRig({
      profile: PROFILES[report.profile as ProfileName],
      kind: report.kind,
    })
    const today = kept(await runConformance(rig))
    await rig.close()
    expect({ ...today, date: report.date }, REFRESH).toEqual(report)
  },
)

test('real Xen was seen with both kernels, and nothing failed anywhere', () => {
  const seen = keptReports().filter(({ platform }) => platform === 'xen')
  expect(seen.map(({ profile }) => profile)).toEqual(['linux-6.1', 'linux-6.12'])
  expect(keptReports().map(({ failed }) => failed)).toEqual(keptReports().map(() => ''))
})

test('a report is kept as ranges of numbers', () => {
  const passed = [1, 2, 3, 7].map(id => ({ id, title: '', outcome: 'passed' }))
  const skipped = { id: 4, title: '', outcome: 'skipped', capability: 'fork' }
  expect(kept({ platform: 'sim', cases: [...passed, skipped] })).toEqual({
    platform: 'sim',
    passed: '1-3,7',
    failed: '',
    skipped: { fork: '4' },
  })
})
