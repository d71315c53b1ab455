import { expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import * as evtchn from '../../src/abi/evtchn.ts'
import {
  decodeAllocGrefReply,
  encodeAllocGref,
  encodeUnmapNotify,
  GNTALLOC_ALLOC_GREF,
  GNTALLOC_SET_UNMAP_NOTIFY,
  UNMAP_NOTIFY_CLEAR_BYTE,
} from '../../src/abi/gntalloc.ts'
import {
  decodeMapGrantRefIndex,
  encodeMapGrantRef,
  GNTDEV_MAP_GRANT_REF,
  GNTDEV_SET_UNMAP_NOTIFY,
} from '../../src/abi/gntdev.ts'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/abi/mman.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { ClosedError } from '../../src/base/errors.ts'
import { Connection } from '../../src/connection.ts'
import { type Device, type DeviceName, isDevice, type Platform } from '../../src/platform.ts'
import { createWorld, type World, type WorldProcess } from '../../src/sim/index.ts'

const RW = PROT_READ | PROT_WRITE

function withWorld(body: (world: World) => void): void {
  const world = createWorld({ seed: 7 })
  body(world)
  for (const domain of world.machine.domains()) world.domain(domain.domid).exit()
  world.clock.advance(1000)
  world.assertEmpty()
  world.close()
}

function open(process: Platform, name: DeviceName, nonblock = true): Device {
  return process.open(name, { access: 'readwrite', nonblock }) as Device
}

/** `count` pages of `process` granted to `domid`, mapped by it. */
function share(process: WorldProcess, domid: number, count = 1) {
  const device = open(process, 'gntalloc')
  const request = encodeAllocGref({ domid, flags: 1, count })
  expect(device.ioctl(GNTALLOC_ALLOC_GREF, request)).toBe(0)
  const { index, refs } = decodeAllocGrefReply(request, count)
  const length = count * PAGE_SIZE
  const address = device.mmap({ offset: index, length, prot: RW, flags: MAP_SHARED })
  return { device, index, refs, address, bytes: process.memory.view(address, length) }
}

function map(process: WorldProcess, domid: number, refs: number[], prot = RW) {
  const device = open(process, 'gntdev')
  const request = encodeMapGrantRef(refs.map(ref => ({ domid, ref })))
  expect(device.ioctl(GNTDEV_MAP_GRANT_REF, request)).toBe(0)
  const offset = decodeMapGrantRefIndex(request)
  const length = refs.length * PAGE_SIZE
  const address = device.mmap({ offset, length, prot, flags: MAP_SHARED })
  return { device, index: offset, address, bytes: process.memory.view(address, length) }
}

test('a killed process clears its byte at its peer, and its own views read zeroes', () => {
  withWorld(world => {
    const [a, b] = [world.domain(1).process(), world.domain(2).process()]
    const near = share(a, 2)
    const far = map(b, 1, near.refs)
    near.bytes.fill(7)
    const armed = encodeUnmapNotify({
      index: far.index + 100,
      action: UNMAP_NOTIFY_CLEAR_BYTE,
      port: 0,
    })
    expect(far.device.ioctl(GNTDEV_SET_UNMAP_NOTIFY, armed)).toBe(0)
    b.kill()
    expect(Array.from(near.bytes.subarray(99, 102))).toEqual([7, 0, 7])
    expect(far.bytes[0]).toBe(0)
    far.bytes[0] = 1
    expect(near.bytes[0]).toBe(7)
    for (const call of [
      () => b.open('gntdev', { access: 'read', nonblock: false }),
      () => b.memory.alloc(1),
      () => b.memory.view(far.address, 1),
      () => far.device.ioctl(0),
      () => far.device.poll(),
    ]) {
      expect(call).toThrow(ClosedError)
    }
    b.kill()
    b.close()
    far.device.close()
  })
})

test('one seed gives one run, down to pids and addresses', () => {
  const run = (seed: number) => {
    const world = createWorld({ seed })
    const process = world.domain(1).process()
    const other = world.domain(1).process()
    const { address } = share(process, 2)
    const run = [process.pid, other.pid, address, other.memory.alloc(PAGE_SIZE)]
    world.close()
    return run
  }
  expect(run(3)).toEqual(run(3))
  expect(run(3)).not.toEqual(run(4))
})

test('a short buffer is a RangeError, and no call is made', () => {
  withWorld(world => {
    const device = open(world.domain(1).process(), 'gntalloc')
    const request = encodeAllocGref({ domid: 1, flags: 1, count: 8 })
    expect(() => device.ioctl(GNTALLOC_ALLOC_GREF, request.subarray(0, 47))).toThrow(RangeError)
    expect(() => device.ioctl(GNTALLOC_ALLOC_GREF, new Uint8Array(4))).toThrow(/24 bytes, got 4/)
    expect(device.ioctl(GNTALLOC_ALLOC_GREF, request)).toBe(0)
    expect(decodeAllocGrefReply(request, 8).index).toBe(0)
  })
})

test('the bytes of a view have an address, and views end with their mapping', () => {
  withWorld(world => {
    const { memory } = world.domain(1).process()
    const address = memory.alloc(3 * PAGE_SIZE)
    const bytes = memory.view(address + 10, 2 * PAGE_SIZE)
    bytes.fill(1)
    expect(memory.addressOf(bytes.subarray(5))).toBe(address + 15)
    expect(() => memory.addressOf(new Uint8Array(4))).toThrow(RangeError)
    expect(() => memory.view(address, 3 * PAGE_SIZE + 1)).toThrow(RangeError)
    expect(() => memory.view(address - 1, 1)).toThrow(RangeError)

    expect(memory.munmap(address + PAGE_SIZE, PAGE_SIZE)).toBe(0)
    expect([bytes[0], bytes[PAGE_SIZE]]).toEqual([1, 0])
    expect(() => memory.view(address + PAGE_SIZE, 1)).toThrow(RangeError)
    const behind = memory.view(address + 2 * PAGE_SIZE, 4)
    expect(behind[0]).toBe(1)
    expect(memory.addressOf(behind)).toBe(address + 2 * PAGE_SIZE)
    expect(memory.munmap(address, 3 * PAGE_SIZE)).toBe(0)
    expect(bytes[0]).toBe(0)
    expect(memory.munmap(address, 3 * PAGE_SIZE)).toBe(0)
  })
})

test('memory over a mapping is private and zero, and the old view reaches nobody (236)', () => {
  withWorld(world => {
    const process = world.domain(1).process()
    const { address, bytes } = share(process, 2)
    bytes[0] = 9
    expect(process.memory.alloc(PAGE_SIZE, address)).toBe(address)
    const fresh = process.memory.view(address, 4)
    expect([fresh[0], bytes[0]]).toEqual([0, 0])
    fresh[0] = 5
    expect(bytes[0]).toBe(0)
  })
})

test('a page that mprotect has taken away reads zeroes through every view', () => {
  withWorld(world => {
    const [a, b] = [world.domain(1).process(), world.domain(2).process()]
    const near = share(a, 2, 2)
    near.bytes.fill(7)
    const far = map(b, 1, near.refs)
    expect(b.memory.protect(far.address, PAGE_SIZE, PROT_READ)).toBe(0)
    expect([far.bytes[0], far.bytes[PAGE_SIZE]]).toEqual([0, 7])
    expect(b.memory.view(far.address, 2 * PAGE_SIZE)[PAGE_SIZE]).toBe(7)
  })
})

test('arguments in memory are read and written as copy_from_user does', () => {
  withWorld(world => {
    const process = world.domain(1).process()
    const device = open(process, 'gntalloc')
    const address = process.memory.alloc(PAGE_SIZE)
    const argument = process.memory.view(address, 24)
    argument.set(encodeAllocGref({ domid: 1, flags: 1, count: 1 }))
    expect(device.ioctl(GNTALLOC_ALLOC_GREF, address)).toBe(0)
    expect(decodeAllocGrefReply(argument, 1).refs[0]).toBeGreaterThanOrEqual(8)
    expect(process.memory.protect(address, PAGE_SIZE, PROT_READ)).toBe(0)
    expect(device.ioctl(GNTALLOC_ALLOC_GREF, address)).toBe(-ERRNO.EFAULT)
    expect(device.ioctl(GNTALLOC_ALLOC_GREF, 2 ** 47)).toBe(-ERRNO.EFAULT)
    expect(device.ioctl(GNTALLOC_SET_UNMAP_NOTIFY, address + PAGE_SIZE - 8)).toBe(-ERRNO.EFAULT)
  })
})

test('ready resolves with the first event, and ends with its signal and its device', async () => {
  const world = createWorld()
  const process = world.domain(1).process()
  const bell = open(process, 'evtchn', false)
  expect(() => bell.read(new Uint8Array(4))).toThrow(/wait for ever/)
  const port = bell.ioctl(evtchn.EVTCHN_BIND_UNBOUND_PORT, evtchn.encodeU32(1))
  const waiting = bell.ready()
  bell.ioctl(evtchn.EVTCHN_BIND_INTERDOMAIN, evtchn.encodeBindInterdomain(1, port))
  await waiting
  await bell.ready()
  const bytes = new Uint8Array(4)
  expect(bell.read(bytes)).toBe(4)
  expect(evtchn.decodePorts(bytes)).toEqual([port + 1])

  const controller = new AbortController()
  const aborted = expect(bell.ready(controller.signal)).rejects.toThrow('enough')
  controller.abort(new Error('enough'))
  await aborted
  const copy = bell.dup() as Device
  const closed = expect(bell.ready()).rejects.toThrow(ClosedError)
  bell.close()
  await closed
  const ended = expect(copy.ready()).rejects.toThrow(ClosedError)
  process.kill()
  await ended
  world.assertEmpty()
  world.close()
})

test('what is left is listed', () => {
  const world = createWorld()
  const process = world.domain(1).process()
  const { refs } = share(process, 2)
  const expected = `domain 1: ref ${refs[0]} granted to 2 by pid ${process.pid}`
  expect(() => world.assertEmpty()).toThrow(expected)
  world.close()
  world.assertEmpty()
})

test('processes of a destroyed domain are gone, their pages stay with who maps them', () => {
  const world = createWorld()
  const [a, b] = [world.domain(1).process(), world.domain(2).process()]
  const near = share(a, 2)
  near.bytes[0] = 7
  const far = map(b, 1, near.refs)
  world.domain(1).destroy()
  expect(() => a.open('gntdev', { access: 'read', nonblock: true })).toThrow(ClosedError)
  expect([near.bytes[0], far.bytes[0]]).toEqual([0, 7])
  expect(() => world.assertEmpty()).toThrow('domain 1: destroyed')
  b.kill()
  world.assertEmpty()
  expect(world.domain(1).process().domid).toBe(1)
  world.close()
})

test('a limit holds for every domain, those to come included', () => {
  withWorld(world => {
    world.domain(1)
    expect(world.getLimit('gntalloc.limit')).toBe(1024)
    world.setLimit('gntalloc.limit', 2)
    for (const domid of [1, 2]) {
      const device = open(world.domain(domid).process(), 'gntalloc')
      const request = encodeAllocGref({ domid: 1, flags: 1, count: 3 })
      expect(device.ioctl(GNTALLOC_ALLOC_GREF, request)).toBe(-ERRNO.ENOSPC)
      expect(device.explain?.()).toMatchObject({ limitValue: 2, used: 0, wanted: 3 })
    }
  })
})

test('a module that was taken out is told to who opens its device, and can be brought back', () => {
  withWorld(world => {
    const [domain, other] = [world.domain(1), world.domain(2)]
    const xen = new Connection(domain.process())
    domain.unloadModule('xen-gntalloc')
    expect(() => xen.share({ to: 2 })).toThrow(
      'ENOENT: open gntalloc: no such file or directory (/dev/xen/gntalloc); ' +
        'load the driver: xen-gntalloc in domain 1',
    )
    expect(isDevice(open(other.process(), 'gntalloc'))).toBe(true)
    domain.loadModule('xen-gntalloc')
    const page = xen.share({ to: 2 })
    expect(page.grants).toHaveLength(1)
    expect(() => domain.unloadModule('xen-gntalloc')).toThrow(
      'EBUSY: unload: device or resource busy; ' +
        'module xen-gntalloc of domain 1 is in use, open files: 1; ',
    )
    xen.close()
    domain.unloadModule('xen-gntalloc')
    expect(() => domain.unloadModule('gntalloc' as never)).toThrow(RangeError)
    expect(() => domain.loadModule('gntalloc' as never)).toThrow('no module "gntalloc"')
  })
})

test('pages of several calls and of two domains lie side by side in one mapping (130)', () => {
  withWorld(world => {
    const [a, b] = [world.domain(1).process(), world.domain(2).process()]
    const refs = [share(a, 2), share(b, 2), share(a, 2)]
    for (const [i, { bytes }] of refs.entries()) bytes.fill(i + 1)
    const device = open(b, 'gntdev')
    const grants = refs.map(({ refs }, i) => ({ domid: i === 1 ? 2 : 1, ref: refs[0]! }))
    const request = encodeMapGrantRef(grants)
    expect(device.ioctl(GNTDEV_MAP_GRANT_REF, request)).toBe(0)
    const length = 3 * PAGE_SIZE
    const address = device.mmap({ offset: 0, length, prot: RW, flags: MAP_SHARED })
    const bytes = b.memory.view(address, length)
    expect([0, 1, 2].map(page => bytes[page * PAGE_SIZE + 5])).toEqual([1, 2, 3])
  })
})
