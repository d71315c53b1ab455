import { afterEach, beforeEach, expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { EVTCHN_RESET, encodeU32 } from '../../src/abi/evtchn.ts'
import {
  encodeAllocGref,
  encodeDeallocGref,
  GNTALLOC_ALLOC_GREF,
  GNTALLOC_DEALLOC_GREF,
  writeAllocGrefIndex,
} from '../../src/abi/gntalloc.ts'
import {
  encodeMapGrantRef,
  encodeUnmapGrantRef,
  GNTDEV_MAP_GRANT_REF,
  GNTDEV_UNMAP_GRANT_REF,
  writeMapGrantRefIndex,
} from '../../src/abi/gntdev.ts'
import { ClosedError, ProtocolError, XenError } from '../../src/base/errors.ts'
import { linux } from '../../src/linux/linux.ts'
import { type Device, isDevice, type Platform } from '../../src/platform.ts'
import { FakeSystem, FIRST_FD } from './fake-system.ts'

const { EACCES, EINVAL, ENOENT } = ERRNO
const PAGE = 4096
const READ_WRITE = { access: 'readwrite', nonblock: false } as const
const [POLLIN, POLLOUT, POLLERR] = [1, 4, 8]

let system: FakeSystem
let platform: Platform
beforeEach(() => {
  system = new FakeSystem()
  platform = linux({}, system)
})
afterEach(() => platform.close())

function open(name: Device['name'], from: Platform = platform): Device {
  const device = from.open(name, READ_WRITE)
  if (!isDevice(device)) throw new Error(`refused: ${device}`)
  return device
}

/** What the mapping call would have answered, had there been a driver: the fake has none. */
const REACHED_THE_KERNEL = -ERRNO.EBADF
const mmapOf = (offset: number, pages: number) => ({
  offset,
  length: pages * PAGE,
  prot: 3,
  flags: 1,
})

test('each device is opened by its path, with the access that was asked for', () => {
  platform.open('gntalloc', { access: 'readwrite', nonblock: false })
  platform.open('gntdev', { access: 'read', nonblock: true })
  platform.open('evtchn', { access: 'write', nonblock: false })
  expect(system.calls).toEqual([
    ['open', '/dev/xen/gntalloc', 2],
    ['open', '/dev/xen/gntdev', 0o4000],
    ['open', '/dev/xen/evtchn', 1],
  ])
})

test('a device file that is not there explains itself', () => {
  system.refused.set('/dev/xen/gntalloc', -ENOENT)
  expect(platform.open('gntalloc', READ_WRITE)).toBe(-ENOENT)
  expect(platform.explain?.()).toEqual({
    path: '/dev/xen/gntalloc',
    fix: 'load the driver: modprobe xen-gntalloc',
  })
  system.texts.set('/sys/hypervisor/type', 'kvm')
  platform.open('gntalloc', READ_WRITE)
  expect(platform.explain?.()?.fix).toContain('no Xen domain')
  system.refused.set('/dev/xen/gntalloc', -EACCES)
  platform.open('gntalloc', READ_WRITE)
  expect(platform.explain?.()?.fix).toContain('udev')
  open('evtchn')
  expect(platform.explain?.()).toBeUndefined()
})

test('ioctl hands over a private copy and brings back what the driver stored', () => {
  const device = open('gntalloc')
  const argument = encodeAllocGref({ domid: 7, flags: 1, count: 1 })
  system.driver = (number, bytes) => {
    expect(number).toBe(GNTALLOC_ALLOC_GREF)
    expect(bytes).not.toBe(argument)
    expect(bytes).toEqual(argument)
    writeAllocGrefIndex(bytes as Uint8Array, 8192)
    return 5
  }
  expect(device.ioctl(GNTALLOC_ALLOC_GREF, argument)).toBe(5)
  expect(new DataView(argument.buffer).getUint32(8, true)).toBe(8192)
})

test('what the driver stored comes back with a refusal too, and no more than it may touch', () => {
  const device = open('evtchn')
  const argument = new Uint8Array(8)
  system.driver = (_, bytes) => {
    ;(bytes as Uint8Array).fill(9)
    return -EINVAL
  }
  expect(device.ioctl(0x00044502, argument)).toBe(-EINVAL)
  expect([...argument]).toEqual([9, 9, 9, 9, 0, 0, 0, 0])
})

test('a buffer that is too short is a RangeError and never reaches the driver', () => {
  const device = open('gntalloc')
  system.driver = () => expect.unreachable()
  const three = encodeAllocGref({ domid: 7, flags: 0, count: 3 })
  for (const bytes of [new Uint8Array(0), new Uint8Array(23), three.subarray(0, 27)]) {
    expect(() => device.ioctl(GNTALLOC_ALLOC_GREF, bytes)).toThrow(RangeError)
  }
})

test('calls without an argument, or with an address, go as they are', () => {
  const seen: unknown[] = []
  system.driver = (number, argument) => {
    seen.push([number, argument])
    return 0
  }
  const device = open('evtchn')
  device.ioctl(EVTCHN_RESET)
  device.ioctl(0x00044504, 4096)
  expect(seen).toEqual([
    [EVTCHN_RESET, 0],
    [0x00044504, 4096],
  ])
})

/** ALLOC_GREF as gntalloc answers it: indexes count up. */
function playGntalloc(): void {
  let next = 0
  system.driver = (number, argument) => {
    if (number !== GNTALLOC_ALLOC_GREF) return 0
    const bytes =
      typeof argument === 'number' ? platform.memory.view(argument, 24) : (argument as Uint8Array)
    writeAllocGrefIndex(bytes, next)
    next += new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true) * PAGE
    return 0
  }
}

test('gntalloc is never mapped across the results of two ALLOC calls', () => {
  playGntalloc()
  const device = open('gntalloc')
  const alloc = (count: number) =>
    device.ioctl(GNTALLOC_ALLOC_GREF, encodeAllocGref({ domid: 7, flags: 1, count }))
  alloc(2)
  alloc(0)
  // The second through an address, as ported programs do.
  const address = platform.memory.alloc(PAGE)
  platform.memory.view(address, 24).set(encodeAllocGref({ domid: 7, flags: 1, count: 1 }))
  device.ioctl(GNTALLOC_ALLOC_GREF, address)

  expect(device.mmap(mmapOf(0, 2))).toBe(REACHED_THE_KERNEL)
  expect(device.mmap(mmapOf(2 * PAGE, 1))).toBe(REACHED_THE_KERNEL)
  expect(() => device.mmap(mmapOf(0, 3))).toThrow(RangeError)
  expect(() => device.mmap(mmapOf(PAGE, 2))).toThrow(/two ALLOC_GREF/)
  // More pages than any ALLOC gave: the driver says ENOENT by itself.
  expect(device.mmap(mmapOf(2 * PAGE, 5))).toBe(REACHED_THE_KERNEL)
  const copy = device.dup() as Device
  expect(() => copy.mmap(mmapOf(0, 3))).toThrow(RangeError)
  device.ioctl(GNTALLOC_DEALLOC_GREF, encodeDeallocGref({ index: PAGE, count: 1 }))
  expect(device.mmap(mmapOf(PAGE, 2))).toBe(REACHED_THE_KERNEL)
  expect(() => device.mmap(mmapOf(0, 3))).toThrow(RangeError)
  device.ioctl(GNTALLOC_DEALLOC_GREF, encodeDeallocGref({ index: 0, count: 1 }))
  expect(device.mmap(mmapOf(0, 3))).toBe(REACHED_THE_KERNEL)
})

test('two descriptors of their own have indexes of their own', () => {
  playGntalloc()
  const [one, other] = [open('gntalloc'), open('gntalloc')]
  for (const device of [one, other]) {
    device.ioctl(GNTALLOC_ALLOC_GREF, encodeAllocGref({ domid: 7, flags: 1, count: 1 }))
  }
  expect(one.mmap(mmapOf(0, 2))).toBe(REACHED_THE_KERNEL)
})

test('the conformance suite may map across them, on a quiet system', () => {
  playGntalloc()
  const careless = linux({ unsafeSpans: true }, system)
  const device = open('gntalloc', careless)
  for (let i = 0; i < 2; i++) {
    device.ioctl(GNTALLOC_ALLOC_GREF, encodeAllocGref({ domid: 7, flags: 1, count: 1 }))
  }
  expect(device.mmap(mmapOf(0, 2))).toBe(REACHED_THE_KERNEL)
  careless.close()
})

/** A gntdev that has booked the refs of these domains at this index. */
function mapped(device: Device, domids: readonly number[], index: number): void {
  system.driver = (_, argument) => {
    writeMapGrantRefIndex(argument as Uint8Array, index)
    return 0
  }
  device.ioctl(GNTDEV_MAP_GRANT_REF, encodeMapGrantRef(domids.map(domid => ({ domid, ref: 8 }))))
  system.driver = () => 0
}

test('outside PV a grant of the own domain is not mapped, and the reason is told', () => {
  system.texts.set('/sys/hypervisor/guest_type', 'PVH')
  const guest = linux({ domid: 5 }, system)
  const device = open('gntdev', guest)
  mapped(device, [3, 5], 0)
  mapped(device, [0x10005], 2 * PAGE)
  mapped(device, [3, 4], 4 * PAGE)
  expect(device.mmap(mmapOf(0, 2))).toBe(-EINVAL)
  expect(device.explain?.()).toMatchObject({ domid: 5, index: 0 })
  expect(device.explain?.()?.fix).toContain('outside PV')
  expect(device.mmap(mmapOf(2 * PAGE, 1))).toBe(-EINVAL)
  expect(device.mmap(mmapOf(4 * PAGE, 2))).toBe(REACHED_THE_KERNEL)
  expect(device.explain?.()).toBeUndefined()
  device.ioctl(GNTDEV_UNMAP_GRANT_REF, encodeUnmapGrantRef({ index: 0, count: 2 }))
  expect(device.mmap(mmapOf(0, 2))).toBe(REACHED_THE_KERNEL)
  guest.close()
})

test('in PV it is', () => {
  const guest = linux({ domid: 5 }, system)
  const device = open('gntdev', guest)
  mapped(device, [5], 0)
  expect(device.mmap(mmapOf(0, 1))).toBe(REACHED_THE_KERNEL)
  guest.close()
})

test('the kind of the domain is what the kernel says, and hvm when it says nothing', () => {
  expect(platform.kind).toBe('pv')
  for (const type of ['HVM', 'PVH', undefined]) {
    const other = new FakeSystem()
    other.texts.delete('/sys/hypervisor/guest_type')
    if (type) other.texts.set('/sys/hypervisor/guest_type', type)
    expect(linux({}, other).kind).toBe('hvm')
  }
})

/** A packet of the xenstore. */
function packet(type: number, payload: string): number[] {
  const header = [type, 0, 0, payload.length].flatMap(word => [...encodeU32(word)])
  return [...header, ...new TextEncoder().encode(payload)]
}

test('the own domid is asked of the xenstore, once', () => {
  system.events = POLLIN
  system.incoming = packet(2, '41')
  expect([platform.domid, platform.domid]).toEqual([41, 41])
  expect(system.calls).toEqual([
    ['open', '/dev/xen/xenbus', 2],
    ['write', packet(2, 'domid\0')],
    ['close', FIRST_FD],
  ])
  expect(linux({ domid: 0 }, system).domid).toBe(0)
})

test('a xenstore that says no, or nothing, or something else, is an error that says so', () => {
  const ask = () => platform.domid
  expect(ask).toThrow(XenError)
  expect(ask).toThrow(/ETIMEDOUT.*xenstored/)
  system.events = POLLIN
  for (const reply of [packet(16, 'ENOENT'), packet(2, 'many'), packet(2, '-1'), packet(3, '7')]) {
    system.incoming = reply
    expect(ask).toThrow(ProtocolError)
  }
  system.incoming = [...packet(2, '').slice(0, 12), 255, 255, 255, 255]
  expect(ask).toThrow(ProtocolError)
  system.incoming = packet(2, '41').slice(0, 17)
  expect(ask).toThrow(XenError)
  system.refused.set('/dev/xen/xenbus', -ENOENT)
  expect(ask).toThrow(/domid/)
})

test('poll and ready look at the descriptor', async () => {
  const device = open('evtchn')
  expect(device.poll()).toEqual({ in: false, out: false, err: false })
  system.events = POLLOUT | POLLERR
  expect(device.poll()).toEqual({ in: false, out: true, err: true })
  await device.ready()
  system.events = POLLOUT
  const waits = [device.ready(), device.ready()]
  system.wake()
  expect(system.watches.size).toBe(1)
  system.events = POLLIN | POLLOUT
  system.wake()
  await Promise.all(waits)
  expect(system.watches.size).toBe(0)
})

test('a wait ends with its signal, and an idle device watches nothing', async () => {
  const device = open('evtchn')
  const controller = new AbortController()
  const [ended, stays] = [device.ready(controller.signal), device.ready()]
  const reason = new Error('enough')
  controller.abort(reason)
  await expect(ended).rejects.toBe(reason)
  expect(system.watches.size).toBe(1)
  system.events = POLLIN
  system.wake()
  await stays
  system.events = 0
  await expect(device.ready(controller.signal)).rejects.toBe(reason)
  expect(system.watches.size).toBe(0)
})

test('close ends every wait and every call with a ClosedError', async () => {
  const device = open('evtchn')
  const wait = device.ready()
  device.close()
  device.close()
  await expect(wait).rejects.toThrow(ClosedError)
  await expect(device.ready()).rejects.toThrow(ClosedError)
  const calls: (() => unknown)[] = [
    () => device.ioctl(EVTCHN_RESET),
    () => device.mmap(mmapOf(0, 1)),
    () => device.read(new Uint8Array(4)),
    () => device.write(new Uint8Array(4)),
    () => device.poll(),
    () => device.dup(),
  ]
  for (const call of calls) expect(call).toThrow(ClosedError)
  expect(system.calls.filter(([name]) => name === 'close')).toEqual([['close', FIRST_FD]])
  expect(system.watches.size).toBe(0)
})

test('a closed platform has closed its devices, the highest descriptor first', () => {
  const first = open('gntalloc')
  open('evtchn')
  open('gntdev').close()
  const copy = first.dup() as Device
  system.calls.length = 0
  const address = platform.memory.alloc(PAGE)
  platform.close()
  platform.close()
  expect(system.calls).toEqual([
    ['close', FIRST_FD + 3],
    ['close', FIRST_FD + 1],
    ['close', FIRST_FD],
  ])
  expect(() => copy.poll()).toThrow(ClosedError)
  expect(() => platform.open('evtchn', READ_WRITE)).toThrow(ClosedError)
  expect(() => platform.memory.view(address, 1)).toThrow(ClosedError)
})
