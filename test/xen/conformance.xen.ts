import { expect, inject, test } from 'vitest'
import { CASES } from '../../src/conformance/cases/index.ts'
import type { CaseReport } from '../../src/conformance/report.ts'
import type { Capability } from '../../src/platform.ts'
import './provided.ts'

/** What one PV domain cannot show, and what must not be tried. */
const LACKING: readonly Capability[] = ['hvm', 'two-domains', 'destructive']

/** The suite ran once, in dom0 of real Xen; each of its cases is a test here. */
const { kernel, profile, cases } = inject('onXen').conformance
const byId = new Map<number, CaseReport>(cases.map(report => [report.id, report]))

test(`the kernel is 6.12.117, compared with linux-6.12 (${kernel})`, () => {
  expect(kernel).toMatch(/^6\.12\.117/)
  expect(profile).toBe('linux-6.12')
})

for (const { id, title, capability } of CASES) {
  const isSkipped = capability !== undefined && LACKING.includes(capability)
  test(`${id} ${title}${isSkipped ? ` (skipped: needs ${capability})` : ''}`, () => {
    const expected = isSkipped ? { outcome: 'skipped', capability } : { outcome: 'passed' }
    expect(byId.get(id)).toMatchObject(expected)
  })
}
