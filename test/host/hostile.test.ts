import { once } from 'node:events'
import { describe, expect } from 'vitest'
import type { HostUsage } from '../../src/host/administration.ts'
import { giveOrder } from '../../src/host/orders.ts'
import { build, CProgram } from './c-program.ts'
import { test } from './machine-test.ts'

const REQUESTS = Number(process.env['INTERDOM_HOSTILE_REQUESTS'] ?? 1_000_000)
const SEEDS = [1, 2]
const HEAP_SLACK = 1024 * 1024

describe('a host', () => {
  test('serves its other clients while a million requests break the protocol', {
    timeout: 600_000,
  }, async ({ machine }) => {
    using one = await machine.connect({ domid: 1 })
    using two = await machine.connect({ domid: 2 })
    using _victim = await machine.connect({ domid: 66 })
    using bell = one.evtchn.bindUnbound({ to: 2 })
    using far = two.evtchn.bindInterdomain({ domid: 1, port: bell.port })
    const program = build('hostile')
    const usage = () => giveOrder(machine.directory, { order: 'usage' }) as HostUsage
    let running = 0
    const attack = async (seed: number, requests: number) => {
      running++
      const words = [`${machine.directory}/domain-66`, String(seed), String(requests)]
      const hostile = new CProgram(program, words)
      try {
        const exited = once(hostile.child, 'exit')
        const [drops = 0] = await hostile.hear()
        expect(await exited).toEqual([0, null])
        return drops
      } finally {
        running--
      }
    }
    let beats = 0
    const beat = async () => {
      using page = one.share({ to: 2, writable: true })
      page.bytes[0] = beats
      using seen = two.map(page.grants)
      expect(seen.u8(0)).toBe(beats++ % 256)
      bell.notify()
      for await (const _ of far.events()) break
    }
    await beat()
    await attack(99, 20_000) // what is compiled and cached, is
    const before = usage()
    const attacks = SEEDS.map(seed => attack(seed, REQUESTS / SEEDS.length))
    while (running > 0) await beat()
    for (const drops of await Promise.all(attacks)) expect(drops).toBeGreaterThan(0)
    expect(beats).toBeGreaterThan(1)
    const after = usage()
    expect(after.descriptors).toBe(before.descriptors)
    expect(after.heapUsed - before.heapUsed).toBeLessThan(HEAP_SLACK)
  })
})
