import { expect, test } from 'vitest'
import { CASES_BY_CAPABILITY } from '../../src/conformance/capabilities.ts'
import { defineCase, defineCaseFor } from '../../src/conformance/case.ts'
import { CASES } from '../../src/conformance/cases/index.ts'
import { LocalPuppet } from '../../src/conformance/local-puppet.ts'
import { lineOf, summaryOf } from '../../src/conformance/report.ts'
import type { Rig } from '../../src/conformance/rig.ts'
import { runCase, runConformance } from '../../src/conformance/runner.ts'
import { parseSelection } from '../../src/conformance/selection.ts'
import { refused } from '../../src/conformance/verdict.ts'
import { PROFILES } from '../../src/kernel/profiles.ts'
import { CAPABILITIES } from '../../src/platform.ts'

/**
 * The numbers of the fact sheet, 1 to 291 and 300 to 324, those that differential runs found, and
 * those that came later.
 */
const NUMBERS = [
  ...Array.from({ length: 291 }, (_, i) => i + 1),
  ...Array.from({ length: 25 }, (_, i) => i + 300),
  330,
  331,
  332,
  333,
  // What a signal sees.
  340,
  341,
  // What differs between kernels: docs/conformance-cases.md.
  ...Array.from({ length: 5 }, (_, i) => i + 400),
  ...Array.from({ length: 9 }, (_, i) => i + 500),
  ...Array.from({ length: 19 }, (_, i) => i + 600),
]

test('each of the cases is there once, in order, and says in a sentence what holds', () => {
  expect(CASES.map(one => one.id)).toEqual(NUMBERS)
  const titles = CASES.map(one => one.title)
  expect(new Set(titles).size).toBe(titles.length)
})

test('a case is skipped by the capability that is written down for it, and by no other', () => {
  expect(Object.keys(CASES_BY_CAPABILITY).sort()).toEqual([...CAPABILITIES].sort())
  const listed = Object.values(CASES_BY_CAPABILITY).flat()
  for (const id of listed) expect(CASES.map(one => one.id)).toContain(id)
  for (const { id, capabilities, body } of CASES) {
    const expected = CAPABILITIES.filter(name => CASES_BY_CAPABILITY[name].includes(id))
    expect({ id, capabilities: capabilities.toSorted() }).toEqual({
      id,
      capabilities: expected.toSorted(),
    })
    expect(body !== undefined || capabilities.length > 0).toBe(true)
  }
})

const TOY = new URL('./fixtures/toy-platform.mjs', import.meta.url).href

/** A rig whose platform answers nothing as a kernel would. */
async function brokenRig(changes: Partial<Rig> = {}): Promise<Rig> {
  const { platform } = await import(TOY)
  const puppet = new LocalPuppet(platform(), 1, () => {})
  return {
    name: 'sim',
    kernel: '0',
    profile: PROFILES['linux-6.12'],
    kind: 'pv',
    capabilities: new Set(),
    domid: 1,
    watchdogMs: 10,
    isTimeOurs: true,
    puppet: async () => puppet,
    disposable: async () => puppet,
    getLimit: async () => 8,
    setLimit: async () => {},
    settle: async () => {},
    clean: () => puppet.reset(),
    close: async () => {},
    ...changes,
  }
}

test('a platform that answers wrongly fails the cases', async () => {
  const seen: string[] = []
  const report = await runConformance(await brokenRig(), {
    filter: one => one.id >= 2 && one.id <= 11,
    onCase: one => seen.push(lineOf(one)),
  })
  expect(summaryOf(report)).toBe('0 passed, 9 failed, 1 skipped')
  expect(seen[0]).toContain('expected ENOTTY, got ')
  expect(seen[0]).toMatch(/\(cases\/generic\.ts:\d+\)$/)
  expect(report.cases.at(-1)).toMatchObject({ id: 11, outcome: 'skipped', capability: 'remap' })
})

test('a case that leaves something behind fails', async () => {
  const rig = await brokenRig({ clean: () => Promise.reject(new Error('1 grant')) })
  const report = await runCase(
    rig,
    defineCase(1, 'leaks', async () => {}),
  )
  expect(report).toMatchObject({ outcome: 'failed', detail: 'left behind: 1 grant' })
})

test('a limit that a case set is put back, even when the case fails', async () => {
  const set: number[] = []
  const rig = await brokenRig({ setLimit: async (_, pages) => void set.push(pages) })
  const one = defineCase(1, 'fails', async t => {
    await t.setLimit('gntalloc.limit', 3)
    await refused('EINVAL', 0)
  })
  expect(await runCase(rig, one)).toMatchObject({ outcome: 'failed' })
  expect(set).toEqual([3, 8])
})

test('a case without a body fails on a rig that could run it', async () => {
  const rig = await brokenRig({ capabilities: new Set(['fork']) })
  const report = await runCase(rig, defineCaseFor('fork', 44, 'forks'))
  expect(report.outcome).toBe('failed')
})

test('a selection is a list of numbers and ranges', () => {
  expect([...(parseSelection('13,20-22') ?? [])]).toEqual([13, 20, 21, 22])
  for (const wrong of ['', 'a', '3-1', '1-', '1,,2']) expect(parseSelection(wrong)).toBeUndefined()
})
