import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { keptReports, outcomesOf } from '../../scripts/conformance-page.mjs'
import { defineCase } from '../../src/conformance/case.ts'
import { CASES } from '../../src/conformance/cases/index.ts'
import { createHostRig } from '../../src/conformance/host-rig.ts'
import type { Rig } from '../../src/conformance/rig.ts'
import { runCase } from '../../src/conformance/runner.ts'
import { ok } from '../../src/conformance/verdict.ts'

/** Worlds run the other two: what a profile and a kind change, they change there too. */
const COMBINATIONS = [
  { profile: 'v6', kind: 'pv' },
  { profile: 'linux-6.1', kind: 'pv' },
  { profile: 'linux-6.12', kind: 'pv' },
  { profile: 'linux-6.12', kind: 'hvm' },
] as const

for (const { profile, kind } of COMBINATIONS) {
  describe(`a host with ${profile} in ${kind}`, () => {
    const report = keptReports().find(
      one => one.platform === 'host' && one.profile === profile && one.kind === kind,
    )
    const told = report && outcomesOf(report)
    let rig: Rig
    beforeAll(async () => {
      rig = await createHostRig({ profile, kind })
    })
    afterAll(() => rig.close())

    for (const one of CASES) {
      test(`${one.id} ${one.title}`, async context => {
        const { outcome, capability, detail } = await runCase(rig, one)
        // What docs/conformance.md tells of hosts, where it does of this kernel.
        if (told) expect(capability ?? outcome).toBe(told.get(one.id))
        if (outcome === 'skipped') context.skip(`needs ${capability}`)
        expect(detail).toBeUndefined()
      })
    }
  })
}

describe('the rig of a host', () => {
  const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}`)
  /** Where a puppet's host lives, and its process. */
  const hostOf = (puppet: number): { directory: string; host: number } => {
    const environment = readFileSync(`/proc/${puppet}/environ`, 'utf8').split('\0')
    const directory = environment.find(one => one.startsWith('INTERDOM_HOST='))?.slice(14) ?? ''
    const { pid } = JSON.parse(readFileSync(join(directory, 'host.json'), 'utf8'))
    return { directory, host: pid }
  }

  test('leaves no process and no directory, even when a case throws', async () => {
    const rig = await createHostRig()
    const pids: number[] = []
    const { outcome, detail } = await runCase(
      rig,
      defineCase(1, 'throws', async t => {
        const puppets = [await t.puppet(0), await t.puppet(1), await t.disposable()]
        for (const puppet of puppets) await (await t.gntalloc({ on: puppet })).share()
        pids.push(...puppets.map(({ pid }) => pid))
        throw new Error('halfway')
      }),
    )
    expect(outcome).toBe('failed')
    expect(detail).toMatch(/^halfway/)
    expect(pids.map(isAlive)).toEqual([true, true, false])
    const { directory, host } = hostOf(pids[0] ?? 0)
    expect(existsSync(directory)).toBe(true)
    await rig.close()
    expect([...pids, host].map(isAlive)).toEqual([false, false, false, false])
    expect(existsSync(directory)).toBe(false)
  })

  test('a puppet that died is replaced', async () => {
    const rig = await createHostRig()
    try {
      const { outcome, detail } = await runCase(
        rig,
        defineCase(1, 'kills a puppet that was to live on', async t => {
          const puppet = await t.puppet()
          await (await t.gntalloc()).share()
          await puppet.kill()
        }),
      )
      expect(outcome).toBe('failed')
      expect(detail).toMatch(/puppet \d+ is dead/)
      const next = defineCase(2, 'works', async t => {
        await ok((await t.gntalloc()).alloc())
      })
      expect(await runCase(rig, next)).toMatchObject({ outcome: 'passed' })
    } finally {
      await rig.close()
    }
  })
})
