import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  MADV_DONTNEED,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/abi/mman.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { ClosedError, XenError } from '../../src/base/errors.ts'
import { connect } from '../../src/connect.ts'
import { createWorld, type World, type WorldProcess } from '../../src/sim/index.ts'

const READ_WRITE = PROT_READ | PROT_WRITE
const MOVED = { flags: MREMAP_MAYMOVE }

let world: World
let parent: WorldProcess
beforeEach(() => {
  world = createWorld({ seed: 5 })
  parent = world.domain(1).process()
})
afterEach(() => {
  world.domain(1).exit()
  world.clock.advance(1000)
  world.assertEmpty()
  world.close()
})

test('a child shares granted pages, and has a copy of plain memory, seen or not', async () => {
  const xen = await connect({ platform: parent })
  const page = xen.share({ to: 2 })
  page.bytes[0] = 1
  const address = parent.memory.addressOf(page.bytes)
  const plain = parent.memory.alloc(4 * PAGE_SIZE)
  const ours = parent.memory.view(plain, 4 * PAGE_SIZE)
  ours.fill(7)
  expect(parent.memory.munmap(plain + PAGE_SIZE, PAGE_SIZE)).toBe(0)
  expect(parent.memory.protect(plain + 2 * PAGE_SIZE, PAGE_SIZE, PROT_NONE)).toBe(0)
  const { memory } = parent.fork()

  const shared = memory.view(address, PAGE_SIZE)
  shared[1] = 2
  expect(Array.from(page.bytes.subarray(0, 2))).toEqual([1, 2])
  memory.view(plain, 1)[0] = 8
  expect([ours[0], memory.view(plain, 1)[0]]).toEqual([7, 8])
  expect(() => memory.view(plain + PAGE_SIZE, 1)).toThrow(RangeError)
  expect(() => memory.view(plain + 2 * PAGE_SIZE, 1)).toThrow('PROT_NONE')
  expect(memory.protect(plain + 2 * PAGE_SIZE, PAGE_SIZE, READ_WRITE)).toBe(0)
  expect(memory.view(plain + 2 * PAGE_SIZE, PAGE_SIZE)[5]).toBe(7)
  expect(() => parent.memory.view(plain + 2 * PAGE_SIZE, 1)).toThrow('PROT_NONE')
})

test('a child has the devices of its parent, and new mappings of its own', () => {
  const device = parent.open('evtchn', { access: 'readwrite', nonblock: true })
  if (typeof device === 'number') throw new Error('not opened')
  const child = parent.fork()
  const theirs = child.devices.get(device.fd)
  expect([child.pid, theirs?.name]).toEqual([parent.pid + 1, 'evtchn'])
  device.close()
  expect(theirs?.poll().out).toBe(true)
  expect(() => device.poll()).toThrow(ClosedError)
  expect(parent.memory.alloc(PAGE_SIZE)).toBe(child.memory.alloc(PAGE_SIZE))
  child.kill()
  expect(() => theirs?.poll()).toThrow(ClosedError)
  expect(() => child.fork()).toThrow(ClosedError)
})

test('a fork that is refused leaves no process behind', () => {
  parent.memory.alloc(PAGE_SIZE)
  world.domain(1).limits.maxMappings = 1
  expect(() => parent.fork()).toThrow(XenError)
  expect(() => parent.fork()).toThrow(/^ENOMEM: fork: limit of 1 mappings in domain 1/)
  expect([...world.machine.domains()].map(({ processes }) => processes.size)).toEqual([1])
})

test('bytes move with their pages, and views from before read zeroes', async () => {
  const xen = await connect({ platform: parent })
  const { bytes } = xen.share({ to: 2, pages: 2 })
  bytes.fill(3)
  const { memory } = parent
  const from = memory.addressOf(bytes)
  const to = memory.alloc(PAGE_SIZE)
  const there = memory.view(to, PAGE_SIZE)
  there.fill(9)
  const how = { flags: MREMAP_MAYMOVE | MREMAP_FIXED, to }
  expect(memory.remap(from, PAGE_SIZE, PAGE_SIZE, how)).toBe(to)
  expect([bytes[0], bytes[PAGE_SIZE], there[0]]).toEqual([0, 3, 0])
  expect(memory.view(to, PAGE_SIZE)[0]).toBe(3)
  expect(() => memory.view(from, 1)).toThrow(RangeError)
  expect(memory.remap(from + PAGE_SIZE, PAGE_SIZE, 2 * PAGE_SIZE, MOVED)).toBeLessThan(0)
  expect(bytes[PAGE_SIZE]).toBe(3)
  expect(memory.munmap(to, PAGE_SIZE)).toBe(0)
})

test('a remap that changes nothing or is refused leaves everything as it was', () => {
  const { memory } = parent
  const start = memory.alloc(3 * PAGE_SIZE)
  memory.view(start, 3 * PAGE_SIZE).fill(6)
  expect(memory.remap(start + PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, MOVED)).toBe(start + PAGE_SIZE)
  expect(memory.remap(start, 4 * PAGE_SIZE, 5 * PAGE_SIZE, MOVED)).toBeLessThan(0)
  expect(memory.view(start, 3 * PAGE_SIZE)[2 * PAGE_SIZE]).toBe(6)
  expect(memory.alloc(PAGE_SIZE)).toBe(start - PAGE_SIZE)
})

test('plain memory is lengthened, shortened and emptied', () => {
  const { memory } = parent
  const start = memory.alloc(2 * PAGE_SIZE)
  memory.view(start, 2 * PAGE_SIZE).fill(4)
  expect(memory.remap(start, 2 * PAGE_SIZE, 3 * PAGE_SIZE, { flags: 0 })).toBeLessThan(0)
  const longer = memory.remap(start, 2 * PAGE_SIZE, 3 * PAGE_SIZE, MOVED)
  const bytes = memory.view(longer, 3 * PAGE_SIZE)
  expect([bytes[0], bytes[2 * PAGE_SIZE - 1], bytes[2 * PAGE_SIZE]]).toEqual([4, 4, 0])
  expect(memory.remap(longer, 3 * PAGE_SIZE, PAGE_SIZE, MOVED)).toBe(longer)
  expect([bytes[0], bytes[PAGE_SIZE]]).toEqual([4, 0])
  expect(() => memory.view(longer, PAGE_SIZE + 1)).toThrow(RangeError)
  expect(memory.remap(longer, 10, 20, MOVED)).toBe(longer)
  expect(memory.advise(longer, PAGE_SIZE, MADV_DONTNEED)).toBe(0)
  expect(bytes[0]).toBe(0)
  bytes[0] = 5
  expect(memory.view(longer, 1)[0]).toBe(5)
})
