import { existsSync, readFileSync } from 'node:fs'
import { test as base, describe, expect } from 'vitest'
import type { GrantName } from '../../src/abi/gntdev.ts'
import { type HostMachine, startHost } from '../../src/start-host.ts'
import { rawEvents } from './fixtures/raw-events.mjs'
import { Peer } from './peer.ts'

interface Granted {
  grants: GrantName[]
  port: number
  children: number[]
}

const test = base.extend<{ machine: HostMachine }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the pattern
  machine: async ({}, use) => {
    const machine = await startHost({ clock: 'manual' })
    await use(machine)
    await machine.advance(1000)
    await machine.assertEmpty()
    await machine.close()
    expect(existsSync(machine.directory)).toBe(false)
  },
})

describe('a host', () => {
  test('lets two processes share a page and answer each other', async ({ machine }) => {
    using xen = await machine.connect({ domid: 1 })
    using page = xen.share({ to: 2, writable: true })
    using bell = xen.evtchn.bindUnbound({ to: 2 })
    page.bytes[0] = 42
    const peer = new Peer(machine, 2, {
      role: 'mapper',
      grants: page.grants,
      port: bell.port,
      clearByte: 8,
    })
    expect(await peer.hear()).toEqual({ mapped: 42 })
    expect(page.bytes[8]).toBe(1)
    bell.notify()
    for await (const _ of bell.events()) break
    await peer.kill()
    // It may have answered twice: the one who binds is sent an event by that.
    for await (const _ of bell.events()) if (page.bytes[8] === 0) break
  })

  test('tells the mapper that the granter was killed, and frees what it had', async ({
    machine,
  }) => {
    using xen = await machine.connect({ domid: 2 })
    const peer = new Peer(machine, 1, { role: 'granter', to: 2 })
    const { grants, port } = await peer.hear<Granted>()
    const page = xen.map(grants, { writable: true })
    using bell = xen.evtchn.bindInterdomain({ domid: 1, port })
    for await (const _ of bell.events()) break
    expect(page.bytes[72]).toBe(1)
    await peer.kill()
    for await (const _ of bell.events()) break
    expect(page.bytes[72]).toBe(0)
    page.close()
    await machine.advance(1000)
    expect(() => xen.map(grants)).toThrow('EINVAL')
  })

  test('holds nothing for a child that outlives the process it came from', async ({ machine }) => {
    using xen = await machine.connect({ domid: 2 })
    const peer = new Peer(machine, 1, { role: 'parent', to: 2 })
    const { grants, port, children } = await peer.hear<Granted>()
    using page = xen.map(grants, { writable: true })
    using bell = xen.evtchn.bindInterdomain({ domid: 1, port })
    for await (const _ of bell.events()) break
    await peer.kill()
    for await (const _ of bell.events()) break
    expect(page.bytes[72]).toBe(0)
    for (const pid of children) process.kill(pid, 'SIGKILL')
  })

  test('answers EHOSTDOWN at once when it was killed, and a wait is rejected', async () => {
    const machine = await startHost()
    const xen = await machine.connect({ domid: 1 })
    const page = xen.share({ to: 2, writable: true })
    page.bytes[0] = 1
    const bell = xen.evtchn.bindUnbound({ to: 2 })
    const waiting = bell.events()[Symbol.asyncIterator]().next()
    process.kill(machine.pid, 'SIGKILL')
    await expect(waiting).rejects.toMatchObject({ code: 'EHOSTDOWN' })
    expect(() => xen.share({ to: 2 })).toThrow(/EHOSTDOWN/)
    expect(() => bell.notify()).toThrow(/EHOSTDOWN/)
    expect(page.bytes[0]).toBe(1)
    xen.close()
    await machine.close()
  })

  test('destroys a domain without byte and without event, and leaves its page', async ({
    machine,
  }) => {
    using xen = await machine.connect({ domid: 2 })
    const peer = new Peer(machine, 1, { role: 'granter', to: 2 })
    const { grants, port } = await peer.hear<Granted>()
    using page = xen.map(grants, { writable: true })
    using bell = xen.evtchn.bindInterdomain({ domid: 1, port })
    for await (const _ of bell.events()) break
    await machine.destroy(1)
    expect(page.bytes[72]).toBe(1)
    bell.notify()
    expect(() => xen.evtchn.bindInterdomain({ domid: 1, port })).toThrow('EINVAL')
    page.close()
    expect(() => xen.evtchn.bindInterdomain({ domid: 1, port })).toThrow('ESRCH')
    await peer.kill()
  })

  test('names the limit that was hit, and what to do', async ({ machine }) => {
    using xen = await machine.connect({ domid: 3 })
    await machine.setLimit(3, 'gntalloc.limit', 8)
    using page = xen.share({ to: 4, pages: 7 })
    expect(page.grants).toHaveLength(7)
    expect(() => xen.share({ to: 4, pages: 2 })).toThrow(/ENOSPC.*limit 8.*7 in use.*2 wanted/)
  })

  test('keeps a read-only page from being mapped writable', async ({ machine }) => {
    using one = await machine.connect({ domid: 1 })
    using two = await machine.connect({ domid: 2 })
    using page = one.share({ to: 2 })
    page.bytes[5] = 9
    using seen = two.map(page.grants)
    expect(seen.u8(5)).toBe(9)
    expect(() => two.map(page.grants, { writable: true })).toThrow('EINVAL')
    // The granter writes on, also to pages that it maps after the grantee has the memory.
    using more = one.share({ to: 2, pages: 3 })
    more.bytes[4096] = 7
    using also = two.map(more.grants)
    expect(also.u8(4096)).toBe(7)
  })

  test('says who is there', async ({ machine }) => {
    using xen = await machine.connect({ domid: 5 })
    const { pid, domains } = await machine.status()
    expect(pid).toBe(machine.pid)
    expect(domains).toMatchObject([{ domid: 5, kind: 'pv', pids: [process.pid] }])
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('server-main')
    expect(xen.domid).toBe(5)
  })
})

describe('shared memory and events of a host', () => {
  test('count ten million atomic additions of two processes exactly', async ({ machine }) => {
    using xen = await machine.connect({ domid: 1 })
    using page = xen.share({ to: 2, writable: true })
    const peer = new Peer(machine, 2, { role: 'adder', grants: page.grants, times: 10_000_000 })
    const words = new Int32Array(page.bytes.buffer, page.bytes.byteOffset, 1024)
    while (Atomics.load(words, 1) < 1) await new Promise(setImmediate)
    Atomics.add(words, 1, 1)
    for (let i = 0; i < 10_000_000; i++) Atomics.add(words, 0, 1)
    expect(await peer.hear()).toEqual({ done: true })
    expect(Atomics.load(words, 0)).toBe(20_000_000)
    await peer.kill()
  })

  test('lose none of 100,000 notifications sent right after the bind returned', {
    timeout: 300_000,
  }, async ({ machine }) => {
    const rounds = 100_000
    using xen = await machine.connect({ domid: 1 })
    using page = xen.share({ to: 2, writable: true })
    const words = new Int32Array(page.bytes.buffer, page.bytes.byteOffset, 1024)
    // One descriptor to wait on, without the event loop; and one whose every event is counted.
    const control = rawEvents(xen.open('evtchn', { access: 'readwrite', nonblock: false }))
    const data = rawEvents(xen.open('evtchn', { access: 'readwrite', nonblock: true }))
    const own = control.bindUnbound(2)
    const role = { role: 'notifier', grants: page.grants, domid: 1, control: own, rounds }
    const peer = new Peer(machine, 2, role)
    let lost = 0
    for (let round = 0; round < rounds; round++) {
      const port = data.bindUnbound(2)
      Atomics.store(words, 0, port)
      control.notify(own)
      control.writeBack(control.read())
      if (data.read() !== port) lost++
      data.unbind(port)
    }
    expect(lost).toBe(0)
    expect(await peer.hear()).toEqual({ done: true })
    control.close()
    data.close()
    await peer.kill()
  })
})
