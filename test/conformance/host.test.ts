import { existsSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { defineCase } from '../../src/conformance/case.ts'
import { CASES } from '../../src/conformance/cases/index.ts'
import { createHostRig } from '../../src/conformance/host-rig.ts'
import type { Rig } from '../../src/conformance/rig.ts'
import { runCase } from '../../src/conformance/runner.ts'
import { ok } from '../../src/conformance/verdict.ts'
import { PROFILE_NAMES } from '../../src/kernel/profiles.ts'

for (const profile of PROFILE_NAMES) {
  describe(`a host with ${profile}`, () => {
    let rig: Rig
    beforeAll(async () => {
      rig = await createHostRig(profile)
    })
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

describe('the rig of a host', () => {
  const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}`)
  const directories = (): string[] =>
    readdirSync(tmpdir()).filter(name => name.startsWith('interdom-'))

  test('leaves no process and no directory, even when a case throws', async () => {
    const before = new Set(directories())
    const rig = await createHostRig()
    const mine = directories().filter(name => !before.has(name))
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
    expect({ outcome, detail }).toEqual({ outcome: 'failed', detail: 'halfway' })
    expect(pids.map(isAlive)).toEqual([true, true, false])
    await rig.close()
    expect(pids.map(isAlive)).toEqual([false, false, false])
    expect(mine.length).toBeGreaterThan(0)
    expect(directories().filter(name => mine.includes(name))).toEqual([])
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
