import { afterEach, beforeEach, expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import {
  MAP_FIXED,
  MAP_SHARED,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/abi/mman.ts'
import { ClosedError } from '../../src/base/errors.ts'
import { Ranges } from '../../src/memory/ranges.ts'
import { canAccess, readSelf, writeSelf } from '../../src/memory/self.ts'
import { mmap, munmap } from '../../src/native/libc.ts'
import { addressOf } from '../../src/native/view.ts'
import { collectUntil } from './collect.ts'
import { mappingAt } from './maps.ts'
import { mapPages, PAGE, SHARED, sharedFile } from './shared-file.ts'

const { EINVAL, ENOMEM } = ERRNO

let memory: Ranges
beforeEach(() => {
  memory = new Ranges()
})

// Every test gives everything back, tombstones included.
afterEach(async () => {
  memory.close()
  const isEmpty = await collectUntil(() => memory.usage.tombstones === 0)
  expect([isEmpty, memory.usage.mapped]).toEqual([true, 0])
})

test('allocated memory is zeroed, writable, and of whole pages', () => {
  const address = memory.alloc(100)
  const bytes = memory.view(address, PAGE)
  expect(bytes.every(byte => byte === 0)).toBe(true)
  bytes[99] = 7
  expect(memory.view(address + 99, 1)[0]).toBe(7)
  expect(memory.alloc(0)).toBe(-EINVAL)
  expect(() => memory.alloc(-1)).toThrow(RangeError)
  expect(() => memory.alloc(Number.NaN)).toThrow(RangeError)
})

test('two mappings of one page are the same memory', () => {
  const fd = sharedFile(2)
  const one = memory.view(mapPages(memory, fd, 0, 2), 2 * PAGE)
  const other = memory.view(mapPages(memory, fd, 1, 1), PAGE)
  one[PAGE + 5] = 9
  expect(other[5]).toBe(9)
})

test('what the kernel refuses is a negative errno', () => {
  const fd = sharedFile(1)
  expect(memory.map({ fd, offset: 1, length: PAGE }, SHARED)).toBe(-EINVAL)
  expect(memory.map({ fd, offset: 0, length: 0 }, SHARED)).toBe(-EINVAL)
  expect(memory.map({ fd: -1, offset: 0, length: PAGE }, SHARED)).toBe(-ERRNO.EBADF)
  expect(memory.map({ fd, offset: 0, length: 2 ** 50 }, SHARED)).toBe(-ENOMEM)
  expect(memory.usage).toEqual({ mapped: 0, tombstones: 0 })
})

test('every view of a range is a part of one buffer', () => {
  const address = memory.alloc(3 * PAGE)
  const whole = memory.view(address, 3 * PAGE)
  const part = memory.view(address + PAGE + 1, 10)
  expect(part.buffer).toBe(whole.buffer)
  expect(part.byteOffset).toBe(PAGE + 1)
})

test('a view has RangeError for bytes outside of one range', () => {
  const address = memory.alloc(2 * PAGE)
  expect(memory.view(address + 2 * PAGE - 1, 1).length).toBe(1)
  for (const [at, length] of [
    [address, 2 * PAGE + 1],
    [address - 1, 1],
    [address + 2 * PAGE, 0],
    [0, 1],
    [address, -1],
    [address, 0.5],
  ] as const) {
    expect(() => memory.view(at, length)).toThrow(RangeError)
  }
})

test('a view knows its address, and so does every part of it', () => {
  const address = memory.alloc(PAGE)
  const bytes = memory.view(address + 8, 100)
  expect(memory.addressOf(bytes)).toBe(address + 8)
  expect(memory.addressOf(bytes.subarray(4))).toBe(address + 12)
  expect(addressOf(bytes)).toBe(address + 8)
  expect(() => memory.addressOf(new Uint8Array(4))).toThrow(RangeError)
  expect(() => new Ranges().addressOf(bytes)).toThrow(RangeError)
})

test('after munmap a view reads zeroes and reaches nobody', () => {
  const fd = sharedFile(2)
  const address = mapPages(memory, fd, 0, 2)
  const peer = memory.view(mapPages(memory, fd, 0, 2), 2 * PAGE)
  const bytes = memory.view(address, 2 * PAGE)
  const words = new DataView(bytes.buffer)
  peer.fill(7)
  expect(bytes[PAGE]).toBe(7)
  expect(memory.munmap(address, 2 * PAGE)).toBe(0)
  expect([bytes[0], words.getUint32(PAGE)]).toEqual([0, 0])
  bytes.fill(9)
  expect([peer[0], peer[PAGE]]).toEqual([7, 7])
  expect(() => memory.view(address, 1)).toThrow(RangeError)
  expect(mappingAt(address)).not.toContain('memfd')
  expect(memory.usage).toMatchObject({ tombstones: 2 * PAGE })
})

test('a range that was never viewed is unmapped at once', () => {
  const address = mapPages(memory, sharedFile(1), 0, 1)
  expect(memory.munmap(address, PAGE)).toBe(0)
  expect(mappingAt(address)).toBeUndefined()
  expect(memory.usage).toEqual({ mapped: 0, tombstones: 0 })
})

test('munmap takes pages out of the middle of a range', () => {
  const fd = sharedFile(3)
  const address = mapPages(memory, fd, 0, 3)
  const bytes = memory.view(address, 3 * PAGE)
  bytes.fill(5)
  expect(memory.munmap(address + PAGE, 1)).toBe(0)
  expect([bytes[0], bytes[PAGE], bytes[2 * PAGE]]).toEqual([5, 0, 5])
  const last = memory.view(address + 2 * PAGE, PAGE)
  last[0] = 6
  expect(bytes[2 * PAGE]).toBe(6)
  expect(() => memory.view(address, PAGE + 1)).toThrow(RangeError)
  expect(() => memory.view(address + PAGE, 1)).toThrow(RangeError)
})

test('a hole in a range that was never viewed leaves two that can be', () => {
  const address = mapPages(memory, sharedFile(3), 0, 3)
  memory.munmap(address + PAGE, PAGE)
  expect(mappingAt(address + PAGE)).toBeUndefined()
  memory.view(address, PAGE)[0] = 1
  expect(memory.view(address + 2 * PAGE, PAGE)[0]).toBe(0)
})

test('munmap is idempotent, passes over what is not there, and checks like the kernel', () => {
  const address = memory.alloc(PAGE)
  expect(memory.munmap(address, PAGE)).toBe(0)
  expect(memory.munmap(address, PAGE)).toBe(0)
  expect(memory.munmap(address + 1, PAGE)).toBe(-EINVAL)
  expect(memory.munmap(address, 0)).toBe(-EINVAL)
})

test('one munmap removes ranges of several mappings', () => {
  const fd = sharedFile(4)
  const start = memory.alloc(4 * PAGE)
  for (let i = 0; i < 4; i++) {
    const file = { fd, offset: (3 - i) * PAGE, length: PAGE }
    expect(memory.map(file, { ...SHARED, at: start + i * PAGE })).toBe(start + i * PAGE)
  }
  const bytes = memory.view(start + PAGE, PAGE)
  expect(memory.munmap(start, 4 * PAGE)).toBe(0)
  expect(memory.usage).toEqual({ mapped: 0, tombstones: PAGE })
  expect(bytes[0]).toBe(0)
})

test('memory of the process that is not ours is neither replaced nor removed', () => {
  const stranger = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | 0x20, -1, 0)
  const [fd, file] = [sharedFile(1), (fd: number) => ({ fd, offset: 0, length: PAGE })]
  expect(() => memory.alloc(PAGE, stranger)).toThrow(RangeError)
  expect(() => memory.map(file(fd), { ...SHARED, at: stranger })).toThrow(RangeError)
  expect(memory.munmap(stranger, PAGE)).toBe(0)
  expect(memory.protect(stranger, PAGE, PROT_NONE)).toBe(-ENOMEM)
  expect(memory.map(file(fd), { prot: 3, flags: MAP_SHARED | MAP_FIXED })).toBeGreaterThan(0)
  expect(writeSelf(stranger, Uint8Array.of(1))).toBe(true)
  munmap(stranger, PAGE)
})

test('a mapping is placed where it is wanted, over what is ours and what is free', () => {
  const start = memory.alloc(4 * PAGE)
  memory.munmap(start + 2 * PAGE, 2 * PAGE)
  expect(memory.alloc(3 * PAGE, start + PAGE)).toBe(start + PAGE)
  memory.view(start + PAGE, 3 * PAGE).fill(3)
  expect(memory.alloc(PAGE, start + 1)).toBe(-EINVAL)
  expect(() => memory.view(start, PAGE + 1)).toThrow(RangeError)
})

test('bytes of what was replaced see what came instead, and survive its end', async () => {
  const fd = sharedFile(1)
  const start = memory.alloc(3 * PAGE)
  const old = memory.view(start, 3 * PAGE)
  old.fill(1)
  const file = { fd, offset: 0, length: PAGE }
  expect(memory.map(file, { ...SHARED, at: start + PAGE })).toBe(start + PAGE)
  expect([old[0], old[PAGE], old[2 * PAGE]]).toEqual([1, 0, 1])
  const fresh = memory.view(start + PAGE, PAGE)
  expect(fresh.buffer).not.toBe(old.buffer)
  fresh[0] = 8
  expect(old[PAGE]).toBe(8)
  expect(memory.munmap(start, 3 * PAGE)).toBe(0)
  expect([old[0], old[PAGE], fresh[0]]).toEqual([0, 0, 0])
})

test('a placement that the file refuses leaves no hole under a view', () => {
  const fd = sharedFile(1)
  const start = memory.alloc(2 * PAGE)
  const bytes = memory.view(start, 2 * PAGE)
  bytes.fill(4)
  const evil = { fd, offset: 0, length: PAGE }
  const refused = memory.map({ ...evil, fd: 0x7fffff }, { ...SHARED, at: start })
  expect(refused).toBe(-ERRNO.EBADF)
  expect(bytes[0]).toBe(4)
  // The second part fails after the first has replaced what was there.
  const bad = [evil, { fd: 0x7fffff, offset: 0, length: PAGE }]
  expect(memory.mapAll(bad, { ...SHARED, at: start })).toBe(-ERRNO.EBADF)
  expect([bytes[0], bytes[PAGE]]).toEqual([0, 0])
  expect(() => memory.view(start, 1)).toThrow(RangeError)
  // Nor under one of what had been unmapped before.
  bytes.fill(5)
  expect(memory.mapAll(bad, { ...SHARED, at: start })).toBe(-ERRNO.EBADF)
  expect([bytes[0], bytes[PAGE]]).toEqual([0, 0])
})

test('parts of several files are one range, all of them or none', () => {
  const [one, two] = [sharedFile(2), sharedFile(2)]
  const parts = [
    { fd: two, offset: PAGE, length: PAGE },
    { fd: one, offset: 0, length: 2 * PAGE },
  ]
  const address = memory.mapAll(parts, SHARED)
  memory.view(address, 3 * PAGE).fill(6)
  expect(memory.view(mapPages(memory, two, 0, 2), 2 * PAGE)[PAGE]).toBe(6)
  expect(memory.view(mapPages(memory, one, 1, 1), PAGE)[0]).toBe(6)
  const { mapped } = memory.usage
  const bad = [...parts, { fd: -1, offset: 0, length: PAGE }]
  expect(memory.mapAll(bad, SHARED)).toBe(-ERRNO.EBADF)
  expect(memory.usage.mapped).toBe(mapped)
})

test('protect changes mapped pages only, and never a tombstone', () => {
  const address = mapPages(memory, sharedFile(2), 0, 2)
  const bytes = memory.view(address, 2 * PAGE)
  expect(memory.protect(address, 2 * PAGE, PROT_READ)).toBe(0)
  expect(canAccess(address, 2 * PAGE, true)).toBe(false)
  expect(memory.protect(address + 1, PAGE, PROT_READ)).toBe(-EINVAL)
  expect(memory.protect(address, 3 * PAGE, PROT_READ)).toBe(-ENOMEM)
  memory.munmap(address, PAGE)
  expect(memory.protect(address, 2 * PAGE, PROT_NONE)).toBe(-ENOMEM)
  expect(bytes[0]).toBe(0)
})

test('memory without access has no view, however it came to that', () => {
  const file = { fd: sharedFile(1), offset: 0, length: PAGE }
  const noAccess = { prot: PROT_NONE, flags: MAP_SHARED }
  const refusal = /^1 bytes at 0x[0-9a-f]+ have no access: PROT_NONE$/
  const { length } = file
  for (const address of [
    memory.map(file, noAccess),
    memory.map(file, { ...noAccess, prot: PROT_EXEC }),
    memory.map(file, { ...noAccess, at: memory.alloc(length) }),
    memory.mapAll([file, file], noAccess),
    memory.mapOne(length, noAccess, at => mmap(at, length, PROT_NONE, MAP_SHARED, file.fd, 0)),
  ]) {
    expect(address).toBeGreaterThan(0)
    expect(() => memory.view(address, 1)).toThrow(refusal)
    memory.protect(address, length, PROT_READ)
    expect(memory.view(address, length)[0]).toBe(0)
    memory.protect(address, length, PROT_NONE)
    expect(() => memory.view(address, 1)).toThrow(refusal)
    expect(memory.map(file, { ...SHARED, at: address })).toBe(address)
    expect(memory.view(address, length)[0]).toBe(0)
  }
})

test('a page that has access again is in one view with those beside it', () => {
  const address = memory.alloc(3 * PAGE)
  const whole = memory.view(address, 3 * PAGE)
  whole[PAGE] = 5
  expect(memory.protect(address + PAGE, PAGE, PROT_NONE)).toBe(0)
  expect(() => memory.view(address, PAGE + 1)).toThrow(RangeError)
  expect(memory.view(address, PAGE).buffer).toBe(whole.buffer)
  expect(memory.protect(address, 3 * PAGE, PROT_WRITE)).toBe(0)
  expect(memory.view(address, 3 * PAGE)[PAGE]).toBe(5)
})

test('after close there are no calls, and views read zeroes', () => {
  const fd = sharedFile(1)
  const address = mapPages(memory, fd, 0, 1)
  const bytes = memory.view(address, PAGE)
  bytes[0] = 5
  memory.close()
  memory.close()
  expect(bytes[0]).toBe(0)
  for (const call of [
    () => memory.alloc(PAGE),
    () => memory.map({ fd, offset: 0, length: PAGE }, SHARED),
    () => memory.mapAll([], SHARED),
    () => memory.protect(address, PAGE, PROT_READ),
    () => memory.view(address, 1),
  ]) {
    expect(call).toThrow(ClosedError)
  }
  expect(memory.munmap(address, PAGE)).toBe(0)
  expect(memory.addressOf(bytes)).toBe(address)
})

test('memory of the process is read and written by address, without a signal', () => {
  const address = memory.alloc(2 * PAGE)
  expect(writeSelf(address + PAGE - 2, Uint8Array.of(1, 2, 3))).toBe(true)
  expect(readSelf(address + PAGE - 2, 3)).toEqual(Uint8Array.of(1, 2, 3))
  expect(canAccess(address + PAGE - 2, 4, true)).toBe(true)
  expect(canAccess(address + 2 * PAGE - 1, 1, true)).toBe(true)
  memory.protect(address + PAGE, PAGE, PROT_READ)
  expect(canAccess(address, PAGE, true)).toBe(true)
  expect(canAccess(address, PAGE + 1, true)).toBe(false)
  expect(canAccess(address, 2 * PAGE, false)).toBe(true)
  expect(writeSelf(address + PAGE, Uint8Array.of(1))).toBe(false)
  memory.munmap(address + PAGE, PAGE)
  expect(readSelf(address + PAGE - 1, 2)).toBeUndefined()
  expect(canAccess(address, PAGE + 1, false)).toBe(false)
  expect(canAccess(0, 1, false)).toBe(false)
  expect(canAccess(0, 0, true)).toBe(true)
  expect(readSelf(8, 1)).toBeUndefined()
})
