import { join } from 'node:path'
import { describe, expect } from 'vitest'
import type { HostMachine } from '../../src/start-host.ts'
import { build, CProgram } from './c-program.ts'
import { test } from './machine-test.ts'

/** The byte that falls when the C client dies. */
const BYTE = 72

function start(machine: HostMachine, domid: number, ...words: (string | number)[]): CProgram {
  const socket = join(machine.directory, `domain-${domid}`)
  return new CProgram(build('client'), [socket, ...words.map(String)])
}

describe('a client in C', () => {
  test('shares a page, is answered, and leaves byte and event when it is killed', async ({
    machine,
  }) => {
    using own = await machine.connect({ domid: 1 })
    using xen = await machine.connect({ domid: 2 })
    const client = start(machine, 1, 'grant', 2)
    const [ref, port] = (await client.hear()) as [number, number]
    const page = xen.map([{ domid: own.domid, ref }], { writable: true })
    using bell = xen.evtchn.bindInterdomain({ domid: 1, port })
    const events = bell.events()[Symbol.asyncIterator]()
    await events.next() // its own: Xen marks the side that binds
    expect(page.bytes[BYTE]).toBe(1)
    for (const value of [42, 43]) {
      page.bytes[0] = value
      bell.notify()
      expect(await client.hear()).toEqual([value])
      await events.next()
    }
    await client.kill()
    await events.next()
    expect(page.bytes[BYTE]).toBe(0)
    page.close()
  })

  test('maps what Node granted, and leaves byte and event when it is killed', async ({
    machine,
  }) => {
    using _own = await machine.connect({ domid: 1 })
    using xen = await machine.connect({ domid: 2 })
    using page = xen.share({ to: 1, writable: true })
    using bell = xen.evtchn.bindUnbound({ to: 1 })
    page.bytes[0] = 7
    const ref = page.grants[0]?.ref ?? 0
    const client = start(machine, 1, 'map', 2, ref, bell.port)
    const events = bell.events()[Symbol.asyncIterator]()
    await client.hear()
    expect(page.bytes[BYTE]).toBe(1)
    expect(await client.hear()).toEqual([7]) // the event of its own bind
    await events.next()
    page.bytes[0] = 8
    bell.notify()
    expect(await client.hear()).toEqual([8])
    await events.next()
    await client.kill()
    await events.next()
    expect(page.bytes[BYTE]).toBe(0)
  })
})
