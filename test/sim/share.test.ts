import { expect, test } from 'vitest'
import {
  decodeAllocGrefReply,
  encodeAllocGref,
  encodeDeallocGref,
  GNTALLOC_ALLOC_GREF,
  GNTALLOC_DEALLOC_GREF,
} from '../../src/abi/gntalloc.ts'
import {
  decodeMapGrantRefIndex,
  encodeMapGrantRef,
  encodeUnmapGrantRef,
  GNTDEV_MAP_GRANT_REF,
  GNTDEV_UNMAP_GRANT_REF,
} from '../../src/abi/gntdev.ts'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/abi/mman.ts'
import { type Device, isDevice } from '../../src/platform.ts'
import { createWorld } from '../../src/sim/index.ts'

const RW = PROT_READ | PROT_WRITE

test('a page granted by one domain is the same memory in another', () => {
  const world = createWorld({ seed: 7 })
  const a = world.domain(1).process()
  const b = world.domain(2).process()
  const alloc = a.open('gntalloc', { access: 'readwrite', nonblock: false }) as Device
  const dev = b.open('gntdev', { access: 'readwrite', nonblock: false }) as Device
  expect(isDevice(alloc) && isDevice(dev)).toBe(true)
  const request = encodeAllocGref({ domid: 2, flags: 1, count: 2 })
  expect(alloc.ioctl(GNTALLOC_ALLOC_GREF, request)).toBe(0)
  const { index, refs } = decodeAllocGrefReply(request, 2)
  const mine = alloc.mmap({ offset: index, length: 8192, prot: RW, flags: MAP_SHARED })
  const map = encodeMapGrantRef(refs.map(ref => ({ domid: 1, ref })).reverse())
  expect(dev.ioctl(GNTDEV_MAP_GRANT_REF, map)).toBe(0)
  const offset = decodeMapGrantRefIndex(map)
  const far = dev.mmap({ offset, length: 8192, prot: RW, flags: MAP_SHARED })
  const near = a.memory.view(mine, 8192)
  const bytes = b.memory.view(far, 8192)
  near[5] = 42
  expect(bytes[4096 + 5]).toBe(42)
  bytes[1] = 7
  expect(near[4097]).toBe(7)
  expect(b.memory.addressOf(bytes.subarray(9))).toBe(far + 9)

  expect(b.memory.munmap(far, 8192)).toBe(0)
  expect([bytes[1], near[4097]]).toEqual([0, 7])
  expect(dev.ioctl(GNTDEV_UNMAP_GRANT_REF, encodeUnmapGrantRef({ index: offset, count: 2 }))).toBe(
    0,
  )
  expect(a.memory.munmap(mine, 8192)).toBe(0)
  expect(near[4097]).toBe(0)
  expect(alloc.ioctl(GNTALLOC_DEALLOC_GREF, encodeDeallocGref({ index, count: 2 }))).toBe(0)
  world.assertEmpty()
  world.close()
})
