import { join } from 'node:path'
import { describe, expect, inject, test } from 'vitest'
import { kept, keptReports } from '../../scripts/conformance-page.mjs'
import { CASES } from '../../src/conformance/cases/index.ts'
import type { CaseReport } from '../../src/conformance/report.ts'
import type { Capability } from '../../src/platform.ts'
import { cacheFolder } from '../../src/testbed/places.ts'
import type { KernelName } from './provided.ts'
import './provided.ts'

/** What PV domains cannot show, and what must not be tried. */
const LACKING: readonly Capability[] = ['hvm', 'destructive']

/** What to do when a case is new: each run leaves its report there. */
const REFRESH = `npm run conformance:page -- ${join(cacheFolder(), 'reports')}/xen-*.json`

const { conformance } = inject('onXen')

/** The suite ran once with each kernel, in dom0 of real Xen; each of its cases is a test here. */
describe.each(Object.keys(conformance) as KernelName[])('on Xen with Linux %s', name => {
  const { kernel, profile, cases } = conformance[name]
  const byId = new Map<number, CaseReport>(cases.map(report => [report.id, report]))

  test(`the kernel is ${kernel}, compared with ${profile}`, () => {
    expect(kernel.startsWith(name === '6.12' ? '6.12.117' : '6.1.')).toBe(true)
    expect(profile).toBe(`linux-${name}`)
  })

  test('docs/conformance.md tells of it what was seen now', () => {
    const told = keptReports().find(one => one.platform === 'xen' && one.profile === profile)
    const { passed, failed, skipped } = kept(conformance[name])
    expect({ passed, failed, skipped }, REFRESH).toEqual({
      passed: told?.passed,
      failed: told?.failed,
      skipped: told?.skipped,
    })
  })

  for (const { id, title, capabilities } of CASES) {
    const capability = capabilities.find(needed => LACKING.includes(needed))
    const isSkipped = capability !== undefined
    test(`${id} ${title}${isSkipped ? ` (skipped: needs ${capability})` : ''}`, () => {
      const expected = isSkipped ? { outcome: 'skipped', capability } : { outcome: 'passed' }
      expect(byId.get(id)).toMatchObject(expected)
    })
  }
})
