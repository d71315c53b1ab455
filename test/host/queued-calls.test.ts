import { describe, expect } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import * as gntalloc from '../../src/abi/gntalloc.ts'
import * as gntdev from '../../src/abi/gntdev.ts'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/abi/mman.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { CallSocket } from '../../src/host/call-socket.ts'
import { domainPath } from '../../src/host/directory.ts'
import { HostPlatform } from '../../src/host/host-platform.ts'
import { QUEUED_CALLS_MAX } from '../../src/host/limits.ts'
import { giveOrder } from '../../src/host/orders.ts'
import { OP, WIRE_MAGIC, WIRE_VERSION } from '../../src/host/wire.ts'
import { close } from '../../src/native/files.ts'
import type { Device } from '../../src/platform.ts'
import type { HostMachine } from '../../src/start-host.ts'
import { test } from './machine-test.ts'
import { stop } from './stopped.ts'

/**
 * What a client queues instead of asking lies in its outbox until the host looks there. These tests
 * are one turn of the event loop, in which no client nudges it: whatever one process did must be
 * done for the next.
 */

/** A process of a domain, with the calls of the drivers by name. */
class Actor {
  readonly platform: HostPlatform

  constructor(machine: HostMachine, domid: number) {
    this.platform = new HostPlatform({ directory: machine.directory, domid })
  }

  [Symbol.dispose](): void {
    this.platform.close()
  }

  open(name: 'gntalloc' | 'gntdev'): Device {
    const device = this.platform.open(name, { access: 'readwrite', nonblock: true })
    if (typeof device === 'number') throw new Error(`open ${name}: ${device}`)
    return device
  }
}

function alloc(device: Device, domid: number, count = 1): { index: number; refs: number[] } {
  const argument = gntalloc.encodeAllocGref({ domid, flags: 1, count })
  expect(device.ioctl(gntalloc.GNTALLOC_ALLOC_GREF, argument)).toBe(0)
  return gntalloc.decodeAllocGrefReply(argument, count)
}

function dealloc(device: Device, index: number, count = 1): number {
  const argument = gntalloc.encodeDeallocGref({ index, count })
  return device.ioctl(gntalloc.GNTALLOC_DEALLOC_GREF, argument)
}

function mmap(device: Device, offset: number, pages = 1): number {
  const prot = PROT_READ | PROT_WRITE
  return device.mmap({ offset, length: pages * PAGE_SIZE, prot, flags: MAP_SHARED })
}

/** Books a map: its index, or -errno. */
function book(device: Device, domid: number, refs: readonly number[]): number {
  const argument = gntdev.encodeMapGrantRef(refs.map(ref => ({ domid, ref })))
  const result = device.ioctl(gntdev.GNTDEV_MAP_GRANT_REF, argument)
  return result < 0 ? result : gntdev.decodeMapGrantRefIndex(argument)
}

function unbook(device: Device, index: number, count = 1): number {
  return device.ioctl(gntdev.GNTDEV_UNMAP_GRANT_REF, gntdev.encodeUnmapGrantRef({ index, count }))
}

describe('when a call has returned, another process sees', () => {
  for (const kind of ['pv', 'hvm'] as const) {
    test(`that a DEALLOC of v6 has freed what its peers unmapped, in ${kind}`, ({ machine }) => {
      for (const domid of [1, 2]) {
        giveOrder(machine.directory, { order: 'domain', domid, kernel: 'v6', kind })
      }
      using one = new Actor(machine, 1)
      using two = new Actor(machine, 2)
      const [granter, mapper] = [one.open('gntalloc'), two.open('gntdev')]
      const [lent, other] = [alloc(granter, 2), alloc(granter, 3)]
      const index = book(mapper, 1, lent.refs)
      const address = mmap(mapper, index)
      expect(address).toBeGreaterThan(0)
      expect(dealloc(granter, lent.index)).toBe(0)
      expect(two.platform.memory.munmap(address, PAGE_SIZE)).toBe(0)
      expect(unbook(mapper, index)).toBe(0)
      expect(mmap(granter, other.index)).toBeGreaterThan(0)
      expect(dealloc(granter, other.index)).toBe(0)
      expect(mmap(mapper, book(mapper, 1, lent.refs))).toBe(-ERRNO.EINVAL)
    })
  }

  test('that a map is gone when all maps were taken', async ({ machine }) => {
    using one = new Actor(machine, 1)
    using two = new Actor(machine, 1)
    const [first, second] = [one.open('gntdev'), two.open('gntdev')]
    await machine.setLimit(1, 'maxMaps', 3)
    const indexes = [1, 2, 3].map(() => book(first, 1, [8]))
    expect(book(second, 1, [8])).toBe(-ERRNO.ENOMEM)
    for (const index of indexes) {
      expect(unbook(first, index)).toBe(0)
      expect(book(second, 1, [8])).toBeGreaterThanOrEqual(0)
    }
  })

  test('that a mapping is gone when all mappings were taken', async ({ machine }) => {
    using one = new Actor(machine, 1)
    using two = new Actor(machine, 1)
    const [first, second] = [one.open('gntalloc'), two.open('gntalloc')]
    const [mine, theirs] = [alloc(first, 2), alloc(second, 2)]
    const address = mmap(first, mine.index)
    const third = one.open('gntalloc')
    expect(third.fd).toBeGreaterThanOrEqual(0)
    await machine.setLimit(1, 'maxMappings', 1)
    expect(mmap(second, theirs.index)).toBe(-ERRNO.ENOMEM)
    expect(one.platform.memory.munmap(address, PAGE_SIZE)).toBe(0)
    expect(mmap(second, theirs.index)).toBeGreaterThan(0)
  })
})

describe('calls that were queued while there was room', () => {
  test('hold when there is none any more as they arrive', async ({ machine }) => {
    using one = new Actor(machine, 1)
    const [granter, mapper] = [one.open('gntalloc'), one.open('gntdev')]
    const page = alloc(granter, 2)
    for (const limit of ['maxMaps', 'maxMapPages', 'maxMappings', 'gntdev.limit']) {
      giveOrder(machine.directory, { order: 'set', domid: 1, limit, value: 100_000 })
    }
    const first = book(mapper, 1, [8])
    for (const limit of ['maxMaps', 'maxMapPages', 'maxMappings', 'gntdev.limit']) {
      giveOrder(machine.directory, { order: 'set', domid: 1, limit, value: 0 })
    }
    // What a process leaves there that had looked at the limits just before.
    const { socket } = one.platform
    const booked = Array.from({ length: 9 }, (_, i) => first + (1 + i) * PAGE_SIZE)
    for (const index of booked) {
      const argument = gntdev.encodeMapGrantRef([{ domid: 1, ref: 8 }])
      socket.begin(OP.book).u32(mapper.fd).u64(index).bytes(argument)
      socket.queue()
    }
    const [address, length] = [2 ** 40, PAGE_SIZE]
    const request = socket.begin(OP.mmap).u32(granter.fd).u64(address).u64(page.index)
    request.u64(length).u32(PROT_READ).u32(MAP_SHARED)
    socket.queue()
    expect(one.open('gntdev').fd).toBeGreaterThanOrEqual(0)
    for (const index of [first, ...booked]) expect(unbook(mapper, index)).toBe(0)
    socket.begin(OP.munmap).u64(address).u64(length)
    expect(socket.call().result).toBe(0)
    expect(book(mapper, 1, [8])).toBe(-ERRNO.EINVAL)
    expect(one.platform.socket.isDead).toBe(false)
  })

  test('of many pages count before the last of them is booked', ({ machine }) => {
    using one = new Actor(machine, 1)
    const mapper = one.open('gntdev')
    const refs = new Array(65_536).fill(8)
    const results = Array.from({ length: 17 }, () => book(mapper, 1, refs))
    expect(results.filter(result => result < 0)).toEqual([-ERRNO.ENOMEM])
    expect(one.platform.socket.isDead).toBe(false)
  })

  test('do not wait for ever for a host that has stopped', async ({ machine }) => {
    using present = new Actor(machine, 1)
    const socket = new CallSocket(domainPath(machine.directory, 1), 100)
    socket.begin(OP.hello).u32(WIRE_MAGIC).u32(WIRE_VERSION)
    const { fds } = socket.call()
    socket.openOutbox()
    await stop(machine.pid)
    try {
      for (let calls = 0; calls <= QUEUED_CALLS_MAX && !socket.isDead; calls++) {
        socket.begin(OP.munmap).u64(0).u64(PAGE_SIZE)
        socket.queue()
      }
      expect(socket.death?.fix).toMatch(/did not answer within 100 ms/)
    } finally {
      process.kill(machine.pid, 'SIGCONT')
    }
    socket.close()
    for (const fd of fds) close(fd)
    expect(present.open('gntdev').fd).toBeGreaterThanOrEqual(0)
  })
})
