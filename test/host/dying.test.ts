import { readdirSync } from 'node:fs'
import { describe, expect } from 'vitest'
import type { HostUsage } from '../../src/host/administration.ts'
import { giveOrder } from '../../src/host/orders.ts'
import { build, CProgram } from './c-program.ts'
import { test } from './machine-test.ts'

const KILLS = Number(process.env['INTERDOM_KILLS'] ?? 10_000)
const BATCH = 10
const SEED = 1
const HEAP_SLACK = 1024 * 1024

describe('a host', () => {
  test('is as it was after ten thousand of its processes were killed at any moment', {
    timeout: 600_000,
  }, async ({ machine }) => {
    using _one = await machine.connect({ domid: 1 })
    using _two = await machine.connect({ domid: 2 })
    const program = build('storm')
    const storm = async (seed: number, kills: number) => {
      const words = [machine.directory, seed, kills, BATCH].map(String)
      expect(await new CProgram(program, words).hear()).toEqual([kills])
    }
    /** The host has noticed every death, and the timers of its kernels have run. */
    const settled = async () => {
      for (;;) {
        await machine.advance(60_000)
        const { domains } = await machine.status()
        if (domains.every(({ pids }) => pids.length === 1)) return
      }
    }
    const usage = () => giveOrder(machine.directory, { order: 'usage' }) as HostUsage
    // What is called so often is compiled, some of it late: the heap is level after as many.
    await storm(SEED + 1, KILLS)
    await settled()
    const before = usage()
    const files = readdirSync(machine.directory)
    await storm(SEED, KILLS)
    await settled()
    expect(await machine.leftovers()).toEqual([])
    const after = usage()
    expect({ ...after, heapUsed: 0 }).toEqual({ ...before, heapUsed: 0 })
    expect(after.heapUsed - before.heapUsed).toBeLessThan(HEAP_SLACK)
    expect(readdirSync(machine.directory)).toEqual(files)
  })
})
