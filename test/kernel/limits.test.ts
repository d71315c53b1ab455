import { afterEach, beforeEach, expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { EVTCHN_BIND_STATIC, encodeU32 } from '../../src/abi/evtchn.ts'
import { ALLOC_GREF_SIZE, encodeAllocGref, GNTALLOC_ALLOC_GREF } from '../../src/abi/gntalloc.ts'
import { type Actor, ARENA, ARENA_SIZE, Rig } from './machine-rig.ts'

let rig: Rig
let actor: Actor
beforeEach(() => {
  rig = new Rig()
  actor = rig.actor(1, {
    limits: {
      'gntalloc.limit': 4096,
      maxGrantFrames: 2,
      maxMaptrackFrames: 1,
      maxEventChannels: 8,
    },
  })
})
afterEach(() => rig.finish())

test('the gntalloc limit counts over all descriptors, and is explained (19, 20)', () => {
  actor.process.domain.limits['gntalloc.limit'] = 3
  const [x, y] = [actor.open('gntalloc'), actor.open('gntalloc')]
  expect(actor.alloc(x, 2).result).toBe(0)
  expect(actor.alloc(y, 2).result).toBe(-ERRNO.ENOSPC)
  const { limit, limitValue, used, wanted } = actor.process.explain(y) ?? {}
  expect([limit, limitValue, used, wanted]).toEqual([expect.stringMatching(/gntalloc/), 3, 2, 2])
  expect(actor.dealloc(x, 0)).toBe(0)
  expect(actor.alloc(y, 2)).toMatchObject({ result: 0, index: 0 })
})

test('a grant table that is full refuses all of an ALLOC, and forgets nothing of it (324)', () => {
  const fd = actor.open('gntalloc')
  expect(actor.alloc(fd, 1000).result).toBe(0)
  expect(actor.alloc(fd, 17).result).toBe(-ERRNO.ENOSPC)
  expect(actor.process.explain(fd)?.limit).toMatch(/grant table/)
  // The index range is consumed, the pages are not, and the count does not drift as in the driver.
  expect(actor.alloc(fd, 16)).toMatchObject({ result: 0, index: 1017 * 4096 })
  actor.process.close(fd)
  expect(actor.alloc(actor.open('gntalloc'), 1016).result).toBe(0)
})

test('a PV page takes two handles of maptrack', () => {
  const { refs } = actor.alloc(actor.open('gntalloc'), 129)
  const dev = actor.open('gntdev')
  for (const ref of refs.slice(0, 128)) actor.mapped(dev, 1, ref)
  const { index } = actor.map(dev, [{ domid: 1, ref: refs[128]! }])
  expect(actor.mmap(dev, index)).toBe(-ERRNO.EINVAL)
  expect(actor.process.explain(dev)?.gntst).toBe(-13)
})

test('event channels end at the highest permitted port', () => {
  const fd = actor.open('evtchn')
  const ports = [5, 6, 7, 8].map(() => actor.bindUnbound(fd))
  expect(ports).toEqual([5, 6, 7, 8])
  expect(actor.bindUnbound(fd)).toBe(-ERRNO.ENOSPC)
  expect(actor.process.explain(fd)?.limitValue).toBe(8)
})

test('ids that cannot be stored leave the pages granted (27, 28)', () => {
  const fd = actor.open('gntalloc')
  const { memory, process } = actor
  const end = ARENA + ARENA_SIZE
  const bytes = encodeAllocGref({ domid: 1, flags: 1, count: 8 }).subarray(0, ALLOC_GREF_SIZE)
  memory.write(end - 24, bytes)
  expect(process.ioctl(fd, GNTALLOC_ALLOC_GREF, end - 24, memory)).toBe(-ERRNO.EFAULT)
  expect(process.domain.grefs.pagesInUse).toBe(8)
  expect(process.ioctl(fd, GNTALLOC_ALLOC_GREF, end - 20, memory)).toBe(-ERRNO.EFAULT)
  expect(process.domain.grefs.pagesInUse).toBe(8)
  expect(actor.alloc(fd).index).toBe(8 * 4096)
})

test('freed refs come back last in first out (226, 227, 228)', () => {
  const fd = actor.open('gntalloc')
  const { index, refs } = actor.alloc(fd, 3)
  const reversed = [...refs].reverse()
  for (let page = 0; page < 3; page++) actor.dealloc(fd, index + page * 4096)
  const second = actor.alloc(fd, 3)
  expect(second.refs).toEqual(reversed)
  actor.dealloc(fd, second.index, 3)
  expect(actor.alloc(fd, 3).refs).toEqual(refs)
  actor.process.close(fd)
  expect(actor.alloc(actor.open('gntalloc'), 3).refs).toEqual(reversed)
})

test('descriptors end at the limit of the process and at that of its domain', () => {
  const { limits } = actor.process.domain
  limits.maxFiles = 2
  limits.maxDomainFiles = 3
  const [fd] = [actor.open('gntdev'), actor.open('evtchn')]
  expect(actor.open('gntdev')).toBe(-ERRNO.EMFILE)
  expect(actor.process.explain()).toMatchObject({ knob: 'maxFiles', used: 2, wanted: 1 })
  expect(actor.process.dup(fd)).toBe(-ERRNO.EMFILE)
  expect(actor.process.explain(fd)?.knob).toBe('maxFiles')
  const other = rig.actor(1)
  other.open('gntdev')
  expect(other.open('gntdev')).toBe(-ERRNO.ENFILE)
  expect(other.process.explain()).toMatchObject({ knob: 'maxDomainFiles', used: 3, wanted: 1 })
  actor.process.close(fd)
  expect(actor.open('gntdev')).toBe(fd)
})

test('a mapping whose middle goes is one more, and may be one too many', () => {
  const { limits, usage } = actor.process.domain
  const fd = actor.open('gntalloc')
  const { index } = actor.alloc(fd, 3)
  limits.maxMappings = 1
  const at = actor.mmap(fd, index, { count: 3 })
  expect(at).toBeGreaterThan(0)
  expect(actor.process.munmap(at + 4096, 4096)).toBe(-ERRNO.ENOMEM)
  expect(actor.process.explain()).toMatchObject({ knob: 'maxMappings', used: 1, wanted: 2 })
  expect(actor.process.protect(at + 4096, 4096, 1)).toBe(-ERRNO.ENOMEM)
  limits.maxMappings = 2
  expect(actor.process.munmap(at + 4096, 4096)).toBe(-ERRNO.ENOMEM)
  limits.maxMappings = 3
  expect(actor.process.munmap(at + 4096, 4096)).toBe(0)
  expect(actor.process.munmap(at, 3 * 4096)).toBe(0)
  expect(usage.mappings).toBe(0)
})

test('whether there is room for one mapping more is asked before what the file allows', () => {
  const { limits } = actor.process.domain
  const [reader, ring] = [actor.open('gntalloc', 'read'), actor.open('evtchn')]
  limits.maxMappings = 0
  for (const fd of [reader, ring]) {
    expect(actor.mmap(fd, 0)).toBe(-ERRNO.ENOMEM)
    expect(actor.process.explain(fd)).toMatchObject({ knob: 'maxMappings', used: 0, wanted: 1 })
    expect(actor.mmap(fd, 1)).toBe(-ERRNO.EINVAL)
  }
  limits.maxMappings = 1
  expect(actor.mmap(reader, 0)).toBe(-ERRNO.EACCES)
  expect(actor.mmap(ring, 0)).toBe(-ERRNO.ENODEV)
})

test('BIND_STATIC takes any port that an interrupt can be made for, once in a domain', () => {
  const [fd, other] = [actor.open('evtchn'), actor.open('evtchn')]
  const bindStatic = (on: number, port: number) =>
    actor.ioctl(on, EVTCHN_BIND_STATIC, encodeU32(port))
  expect(bindStatic(fd, 131071)).toBe(0)
  expect(bindStatic(fd, 131071)).toBe(-ERRNO.EISCONN)
  expect(bindStatic(other, 131071)).toBe(-ERRNO.EBUSY)
  for (const port of [131072, 2 ** 32 - 1]) expect(bindStatic(fd, port)).toBe(-ERRNO.ENOMEM)
})
