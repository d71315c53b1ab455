import { describe, expect, onTestFinished } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { EVTCHN_BIND_STATIC, encodeU32 } from '../../src/abi/evtchn.ts'
import * as gntdev from '../../src/abi/gntdev.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import type { HostUsage } from '../../src/host/administration.ts'
import { Budget } from '../../src/host/budget.ts'
import { ChunkStore } from '../../src/host/chunk-store.ts'
import { LOOK_AT_ALL } from '../../src/host/inbox.ts'
import { CHUNK_PAGES, LINK_SLOTS } from '../../src/host/limits.ts'
import { mapFile } from '../../src/host/memfd.ts'
import { giveOrder } from '../../src/host/orders.ts'
import { encodeRanges } from '../../src/host/snapshot.ts'
import { BodyWriter, NOWHERE, OP } from '../../src/host/wire.ts'
import { framesOf } from '../../src/hypervisor/frame-runs.ts'
import { PORT_MASKED } from '../../src/kernel/event-ring.ts'
import { addSeals, close, F_SEAL_FUTURE_WRITE, write } from '../../src/native/files.ts'
import type { HostMachine } from '../../src/start-host.ts'
import { test } from './machine-test.ts'
import { ARGUMENT, RawClient } from './raw-client.ts'

function usage(machine: HostMachine): HostUsage {
  return giveOrder(machine.directory, { order: 'usage' }) as HostUsage
}

/** Domains 1 and 2, which stay while a test goes on. */
async function neighbours(machine: HostMachine): Promise<Disposable> {
  const one = await machine.connect({ domid: 1 })
  const two = await machine.connect({ domid: 2 })
  return {
    [Symbol.dispose]: () => {
      one.close()
      two.close()
    },
  }
}

describe('calls that are well formed and meant badly', () => {
  test('leave no descriptor behind when they bind a port and want no answer', async ({
    machine,
  }) => {
    using _ = await neighbours(machine)
    const before = usage(machine).descriptors
    const argument = { address: ARGUMENT, bytes: encodeU32(900), writable: true }
    for (let i = 0; i < 8; i++) {
      using one = new RawClient(machine, 1)
      const fd = one.open('evtchn')
      one.socket.openOutbox()
      const request = one.socket.begin(OP.ioctl).u32(fd).u32(EVTCHN_BIND_STATIC)
      encodeRanges(request.u64(ARGUMENT), [argument])
      one.socket.queue()
      expect(one.call(OP.none, new BodyWriter()).result).toBe(-ERRNO.EHOSTDOWN)
    }
    expect(usage(machine).descriptors).toBe(before)
  })

  test('change the protection of 65,536 pages in one go', async ({ machine }) => {
    using _ = await neighbours(machine)
    using one = new RawClient(machine, 1)
    using two = new RawClient(machine, 2)
    const { refs } = one.alloc(one.open('gntalloc'), 2, 1024)
    const many = Array.from({ length: 65_536 }, (_, i) => ({ domid: 1, ref: refs[i % 1024] ?? 0 }))
    expect(two.map(two.open('gntdev'), many, 2 ** 40).result).toBe(0)
    const request = new BodyWriter()
      .u64(2 ** 40)
      .u64(65_536 * PAGE_SIZE)
      .u32(1)
    const { result, body } = two.call(OP.protect, request)
    expect(result).toBe(0)
    expect(body.u32()).toBe(65_536)
  })

  test('get no more stores back than they sent memory, however often a page is copied to', async ({
    machine,
  }) => {
    using _ = await neighbours(machine)
    using one = new RawClient(machine, 1)
    using two = new RawClient(machine, 2)
    const [ref = 0] = one.alloc(one.open('gntalloc'), 2, 1).refs
    const count = 100_000
    const target = { address: 2 ** 32 }
    const segment = {
      source: { domid: 1, ref, offset: 0 },
      dest: target,
      len: PAGE_SIZE,
      flags: gntdev.GRANT_COPY_SOURCE_GREF,
    }
    const segments = gntdev.encodeCopySegments(new Array(count).fill(segment))
    const { result, body } = two.ioctl(
      two.open('gntdev'),
      gntdev.GNTDEV_GRANT_COPY,
      gntdev.encodeGrantCopy(count, 2 ** 20),
      [
        { address: 2 ** 20, bytes: segments, writable: true },
        { ...target, bytes: new Uint8Array(PAGE_SIZE).fill(7), writable: true },
      ],
    )
    expect(result).toBe(0)
    const written = new Map<number, Uint8Array>()
    let bytes = 0
    for (let left = body.u32(); left > 0; left--) {
      const address = body.u64()
      const piece = body.bytes()
      written.set(address, piece)
      bytes += piece.byteLength
    }
    expect(written.get(target.address)).toEqual(new Uint8Array(PAGE_SIZE))
    expect(bytes).toBeLessThan(segments.byteLength + 2 ** 20)
  })

  test('hold no memory of the host by granting to ever other domains', async ({ machine }) => {
    using _ = await neighbours(machine)
    using one = new RawClient(machine, 1)
    const device = one.open('gntalloc')
    const before = usage(machine)
    for (let domid = 100; domid < 400; domid++) {
      for (const flags of [0, 1]) one.dealloc(device, one.alloc(device, domid, 1, flags).index, 1)
    }
    const { chunks, descriptors } = usage(machine)
    expect(chunks - before.chunks).toBeLessThanOrEqual(8)
    expect(descriptors - before.descriptors).toBeLessThanOrEqual(8)
  })

  test('use no new frame numbers for each large allocation', () => {
    const budget = new Budget(1000, () => undefined)
    const store = new ChunkStore(budget)
    onTestFinished(() => store.close())
    const placement = { granter: 1, grantee: 2, writable: true, process: {} }
    let highest = 0
    for (let i = 0; i < 100; i++) {
      store.allocate(1, { ...placement, grantee: i, process: {} })
      const runs = store.allocate(1024, placement)
      if (!Array.isArray(runs)) throw new Error('no memory')
      for (const { first, count } of runs) store.free(first, count)
      highest = Math.max(highest, ...framesOf(runs))
    }
    expect(highest).toBeLessThan(104 * CHUNK_PAGES)
  })

  test('find no chunk that is gone, however often one was full', () => {
    const store = new ChunkStore(new Budget(1000, () => undefined))
    onTestFinished(() => store.close())
    const process = {}
    const take = (grantee: number, count: number): number[] => {
      const runs = store.allocate(count, { granter: 1, grantee, writable: true, process })
      if (!Array.isArray(runs)) throw new Error('no memory')
      return framesOf(runs)
    }
    const peers = Array.from({ length: 20 }, (_, i) => i)
    for (const peer of peers) for (const frame of take(peer, CHUNK_PAGES)) store.free(frame, 1)
    for (const peer of peers) {
      const [frame = 0] = take(peer, 1)
      store.write(frame, 0, Uint8Array.of(peer))
      expect(store.read(frame, 0, 1)[0]).toBe(peer)
    }
  })

  test('book no map of more grants than they name, and leave the limit alone', async ({
    machine,
  }) => {
    using _ = await neighbours(machine)
    await machine.setLimit(2, 'gntdev.limit', 16)
    using two = new RawClient(machine, 2)
    const device = two.open('gntdev')
    for (const count of [2 ** 29, 2 ** 32 - 1, 17]) {
      using liar = new RawClient(machine, 2)
      const argument = new Uint8Array(24)
      argument.set(encodeU32(count))
      const request = new BodyWriter().u32(liar.open('gntdev')).u64(0).bytes(argument)
      expect(liar.call(OP.book, request).result).toBeLessThan(0)
    }
    const grants = new Array(17).fill({ domid: 1, ref: 8 })
    const argument = gntdev.encodeMapGrantRef(grants)
    expect(two.ioctl(device, gntdev.GNTDEV_MAP_GRANT_REF, argument).result).toBe(-ERRNO.EINVAL)
  })

  test('place the mapping that has no place yet, all of it and once', async ({ machine }) => {
    using _ = await neighbours(machine)
    using one = new RawClient(machine, 1)
    using two = new RawClient(machine, 2)
    const { refs } = one.alloc(one.open('gntalloc'), 2, 2)
    const grants = refs.map(ref => ({ domid: 1, ref }))
    const [length, to] = [2 * PAGE_SIZE, 0x7000_0000_0000]
    const place = (bytes: number, address: number) =>
      two.call(OP.place, new BodyWriter().u64(NOWHERE).u64(bytes).u64(address)).result
    expect(place(length, to)).toBe(-ERRNO.EINVAL)
    expect(two.map(two.open('gntdev'), grants, NOWHERE).result).toBe(0)
    expect(place(PAGE_SIZE, to)).toBe(-ERRNO.EINVAL)
    expect(place(0, to)).toBe(-ERRNO.EINVAL)
    expect(place(length, to + 1)).toBe(-ERRNO.EINVAL)
    expect(place(length, NOWHERE + PAGE_SIZE)).toBe(-ERRNO.EINVAL)
    expect(place(length, to)).toBe(0)
    expect(place(length, to)).toBe(-ERRNO.EINVAL)
  })

  test('turn away whoever comes when a domain has all the processes it may have', async ({
    machine,
  }) => {
    using one = await machine.connect({ domid: 1 })
    using _two = await machine.connect({ domid: 2 })
    await machine.setLimit(2, 'maxProcesses', 64)
    const clients = Array.from({ length: 63 }, () => new RawClient(machine, 2))
    const late = new RawClient(machine, 2)
    expect(late.socket.isDead).toBe(true)
    late[Symbol.dispose]()
    using page = one.share({ to: 2 })
    expect(page.grants).toHaveLength(1)
    for (const client of clients) client[Symbol.dispose]()
  })
})

describe('a sender that floods its inbox', () => {
  test('reaches its own channel only', async ({ machine }) => {
    using receiver = await machine.connect({ domid: 1 })
    using friend = await machine.connect({ domid: 3 })
    using _ = await machine.connect({ domid: 2 })
    using foe = new RawClient(machine, 2)
    using own = receiver.evtchn.bindUnbound({ to: 3 })
    using theirs = receiver.evtchn.bindUnbound({ to: 2 })
    using bell = friend.evtchn.bindInterdomain({ domid: 1, port: own.port })
    const device = foe.open('evtchn')
    const bound = foe.bindInterdomain(device, 1, theirs.port)
    for (const fd of bound.fds) close(fd)
    const { fds, result } = foe.call(OP.peer, new BodyWriter().u32(device).u32(bound.result))
    expect(result).toBe(0)
    const [pipe = -1, states = -1] = fds
    const shared = mapFile(states, LINK_SLOTS * 4, true)
    if (typeof shared === 'number') throw new Error(`mmap: ${shared}`)
    const ports = new Uint32Array(1024)
    for (let round = 0; round < 20; round++) {
      shared.words.fill(round % 2 === 0 ? 0xffffffff : 1)
      // Numbers of nobody, of the friend's port, and pieces of numbers, until the pipe is full.
      ports.fill(round % 3 === 0 ? own.port : 0xdeadbeef)
      while (write(pipe, new Uint8Array(ports.buffer, 0, 4093)) > 0);
      bell.notify()
      for await (const _ of own.events()) break
    }
    close(pipe)
    shared.close()
  })

  test('is heard though it does not count what it sends, and heard once', async ({ machine }) => {
    using receiver = await machine.connect({ domid: 1 })
    using _ = await machine.connect({ domid: 2 })
    using foe = new RawClient(machine, 2)
    using port = receiver.evtchn.bindUnbound({ to: 2 })
    const device = foe.open('evtchn')
    const bound = foe.bindInterdomain(device, 1, port.port)
    for (const fd of bound.fds) close(fd)
    const { fds, body } = foe.call(OP.peer, new BodyWriter().u32(device).u32(bound.result))
    const [, , slot = 0] = [body.u32(), body.u32(), body.u32()]
    const [pipe = -1, states = -1] = fds
    const shared = mapFile(states, LINK_SLOTS * 4, true)
    if (typeof shared === 'number') throw new Error(`mmap: ${shared}`)
    for (let round = 0; round < 3; round++) {
      shared.words[slot] = PORT_MASKED
      expect(write(pipe, encodeU32(port.port))).toBe(4)
      await port.pending()
      const again = port.pending()
      port.unmask()
      const turn = new Promise(resolve => setImmediate(resolve, 'nothing'))
      expect(await Promise.race([again, turn])).toBe('nothing')
      expect(shared.words[slot]).toBe(0)
      shared.words[slot] = PORT_MASKED
      write(pipe, encodeU32(port.port))
      await again
      port.unmask()
    }
    close(pipe)
    shared.close()
  })

  test('is looked at in all of its channels when it says so', async ({ machine }) => {
    using receiver = await machine.connect({ domid: 1 })
    using _ = await machine.connect({ domid: 2 })
    using foe = new RawClient(machine, 2)
    using first = receiver.evtchn.bindUnbound({ to: 2 })
    using gone = receiver.evtchn.bindUnbound({ to: 2 })
    using last = receiver.evtchn.bindUnbound({ to: 2 })
    const device = foe.open('evtchn')
    const ways = [first, gone, last].map(({ port }) => {
      const bound = foe.bindInterdomain(device, 1, port)
      const { fds, body } = foe.call(OP.peer, new BodyWriter().u32(device).u32(bound.result))
      const [, , slot = 0] = [body.u32(), body.u32(), body.u32()]
      for (const fd of bound.fds) close(fd)
      return { fds, slot }
    })
    const [pipe = -1, states = -1, ...more] = ways.flatMap(({ fds }) => fds)
    for (const fd of more) close(fd)
    const shared = mapFile(states, LINK_SLOTS * 4, true)
    if (typeof shared === 'number') throw new Error(`mmap: ${shared}`)
    gone.close()
    for (const { slot } of ways) shared.words[slot] = PORT_MASKED
    shared.words[LOOK_AT_ALL] = 1
    expect(write(pipe, encodeU32(0xdeadbeef))).toBe(4)
    await Promise.all([first.pending(), last.pending()])
    expect(shared.words[LOOK_AT_ALL]).toBe(0)
    close(pipe)
    shared.close()
  })

  test('cannot forbid the others to map what it was given', async ({ machine }) => {
    using receiver = await machine.connect({ domid: 1 })
    using page = receiver.share({ to: 2, writable: true })
    using theirs = receiver.evtchn.bindUnbound({ to: 2 })
    using _ = await machine.connect({ domid: 2 })
    using foe = new RawClient(machine, 2)
    const device = foe.open('evtchn')
    const bound = foe.bindInterdomain(device, 1, theirs.port)
    const peer = foe.call(OP.peer, new BodyWriter().u32(device).u32(bound.result))
    const mapped = foe.map(foe.open('gntdev'), page.grants, ARGUMENT)
    const chunk = foe.chunkOf(mapped)
    for (const fd of [peer.fds[1], chunk.fds[0]]) {
      expect(addSeals(fd ?? -1, F_SEAL_FUTURE_WRITE)).toBe(-ERRNO.EPERM)
    }
    for (const fd of [...bound.fds, ...peer.fds, ...chunk.fds]) close(fd)
  })
})
