import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, test } from 'vitest'
import { keptReports, outcomesOf } from '../../scripts/conformance-page.mjs'
import type { ConformanceReport } from '../../src/conformance/index.ts'
import { type HostMachine, startHost } from '../../src/start-host.ts'

const PROGRAM = fileURLToPath(new URL('./fixtures/shared-runner.mjs', import.meta.url))
/** More than the domains that one run of the suite makes. */
const DOMAINS_EACH = 1000
const TIME_MS = 240_000

/** Processes that run the suite at the same time, each in domains of its own. */
const RUNNERS = [
  { profile: 'linux-6.12', kind: 'pv' },
  { profile: 'linux-6.12', kind: 'pv' },
  { profile: 'linux-6.12', kind: 'hvm' },
  { profile: 'v6', kind: 'pv' },
] as const

const run = promisify(execFile)

async function runnerOn(
  { directory }: HostMachine,
  i: number,
  { profile, kind }: (typeof RUNNERS)[number],
): Promise<ConformanceReport> {
  const role = { directory, firstDomid: 1 + i * DOMAINS_EACH, profile, kind }
  const { stdout } = await run(process.execPath, [PROGRAM, JSON.stringify(role)], {
    maxBuffer: 2 ** 24,
  })
  return JSON.parse(stdout) as ConformanceReport
}

describe('several processes that run the suite on one host at the same time', () => {
  let reports: ConformanceReport[] = []
  let leftovers: string[] = ['nobody has looked']

  beforeAll(async () => {
    await using machine = await startHost({ clock: 'manual' })
    reports = await Promise.all(RUNNERS.map((runner, i) => runnerOn(machine, i, runner)))
    leftovers = await machine.leftovers()
  }, TIME_MS)

  for (const [i, { profile, kind }] of RUNNERS.entries()) {
    test(`${i + 1}: as ${profile} in ${kind} every case goes as it does alone`, () => {
      const { cases, ...facts } = reports[i] as ConformanceReport
      expect(facts).toMatchObject({ platform: 'host', profile, kind })
      expect(cases.filter(({ outcome }) => outcome === 'failed')).toEqual([])
      const went = new Map(cases.map(({ id, outcome, capability }) => [id, capability ?? outcome]))
      // What a case needs of a host is the same with every kernel.
      const alone = keptReports().find(one => one.platform === 'host' && one.kind === kind)
      expect(went).toEqual(outcomesOf(alone))
    })
  }

  test('and nothing is left there', () => {
    expect(leftovers).toEqual([])
  })
})
