import { expect, inject, test } from 'vitest'
import { CASES } from '../../src/conformance/cases/index.ts'
import type { CaseReport } from '../../src/conformance/report.ts'
import './provided.ts'

/** The suite ran once, in dom0 of real Xen; each of its cases is a test here. */
const { kernel, profile, cases } = inject('onXen').conformance
const byId = new Map<number, CaseReport>(cases.map(report => [report.id, report]))

test(`the kernel is 6.12.117, compared with linux-6.12 (${kernel})`, () => {
  expect(kernel).toMatch(/^6\.12\.117/)
  expect(profile).toBe('linux-6.12')
})

test.each(CASES.map(({ id, title }) => [id, title] as const))('%i %s', (id, _title) => {
  const report = byId.get(id)
  if (report?.outcome === 'skipped') expect(report.capability).toBeDefined()
  else expect(report).toMatchObject({ outcome: 'passed' })
})
