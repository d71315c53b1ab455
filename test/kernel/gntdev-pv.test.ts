import { afterEach, beforeEach, expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { NO_FRAME } from '../../src/hypervisor/page-store.ts'
import { type Actor, PROT_READ, Rig, RW } from './machine-rig.ts'

const BYTE = 1
const EVENT = 2

let rig: Rig
let granter: Actor
let mapper: Actor
let alloc: number
let dev: number
/** The mapper's channel: `port` is armed, `far` is read on `bell`. */
let port: number
let far: number
let bell: number

beforeEach(() => {
  rig = new Rig()
  granter = rig.actor(1)
  mapper = rig.actor(2)
  alloc = granter.open('gntalloc')
  dev = mapper.open('gntdev')
  bell = mapper.open('evtchn')
  ;({ port, far } = mapper.channel(mapper.open('evtchn'), bell))
})
afterEach(() => rig.finish())

function granted(count = 1, flags = 1): { near: number; index: number; refs: number[] } {
  const { index, refs } = granter.alloc(alloc, count, 2, flags)
  const near = granter.mmap(alloc, index, { count })
  for (let page = 0; page < count; page++) granter.page(near + page * PAGE_SIZE).fill(7)
  return { near, index, refs }
}

function mapAll(refs: number[], prot = RW): { index: number; address: number } {
  const { index } = mapper.map(
    dev,
    refs.map(ref => ({ domid: 1, ref })),
  )
  return { index, address: mapper.mmap(dev, index, { count: refs.length, prot }) }
}

test('munmap without UNMAP unmaps the page and clears the byte, and keeps the event (159)', () => {
  const { near, refs } = granted()
  const { index, address } = mapAll(refs)
  mapper.notify(dev, index + 5, BYTE | EVENT, port)
  mapper.munmap(address)
  expect(granter.page(near)[5]).toBe(0)
  expect(mapper.events(bell)).toEqual([])
  mapper.unmap(dev, index)
  expect(mapper.events(bell)).toEqual([far])
})

test('UNMAP while mapped leaves everything to the last munmap (138, 160)', () => {
  const { near, refs } = granted()
  const { index, address } = mapAll(refs)
  mapper.notify(dev, index + 5, BYTE | EVENT, port)
  expect(mapper.unmap(dev, index)).toBe(0)
  expect(mapper.page(address)[5]).toBe(7)
  mapper.munmap(address)
  expect(granter.page(near)[5]).toBe(0)
  expect(mapper.events(bell)).toEqual([far])
})

test('another mapping put over a part of it is a munmap of that part (240)', () => {
  const { near, refs } = granted(2)
  const { index, address } = mapAll(refs)
  mapper.notify(dev, index + 5, BYTE | EVENT, port)
  mapper.unmap(dev, index, 2)
  mapper.process.mapAnonymous(address, PAGE_SIZE)
  expect(granter.page(near)[5]).toBe(0)
  expect(mapper.events(bell)).toEqual([])
  expect(mapper.page(address + PAGE_SIZE)[0]).toBe(7)
  mapper.munmap(address + PAGE_SIZE)
  expect(mapper.events(bell)).toEqual([far])
})

test('the byte waits for its own page (241)', () => {
  const { near, refs } = granted(2)
  const { index, address } = mapAll(refs)
  mapper.notify(dev, index + PAGE_SIZE + 5, BYTE | EVENT, port)
  mapper.unmap(dev, index, 2)
  mapper.munmap(address)
  expect(granter.page(near + PAGE_SIZE)[5]).toBe(7)
  mapper.munmap(address + PAGE_SIZE)
  expect(granter.page(near + PAGE_SIZE)[5]).toBe(0)
  expect(mapper.events(bell)).toEqual([far])
})

test('a page that was munmapped can be revoked while the other goes on (242)', () => {
  const { index, refs, near } = granted(2)
  const { address } = mapAll(refs)
  mapper.munmap(address)
  granter.munmap(near, 2)
  granter.dealloc(alloc, index)
  expect(mapper.canMap(1, refs[0]!)).toBe(false)
  mapper.page(address + PAGE_SIZE)[9] = 3
})

test('a change of the protection takes the page away, for good (300, 302, 303)', () => {
  const { near, refs } = granted()
  const { index, address } = mapAll(refs)
  mapper.notify(dev, index + 5, BYTE | EVENT, port)
  expect(mapper.process.protect(address, PAGE_SIZE, RW)).toBe(0)
  expect(granter.page(near)[5]).toBe(7)
  expect(mapper.process.protect(address, PAGE_SIZE, PROT_READ)).toBe(0)
  expect(granter.page(near)[5]).toBe(0)
  expect(mapper.process.vma(address)?.frames).toEqual([{ first: NO_FRAME, count: 1 }])
  expect(mapper.process.protect(address, PAGE_SIZE, RW)).toBe(0)
  expect(mapper.process.vma(address)?.frames).toEqual([{ first: NO_FRAME, count: 1 }])
  mapper.munmap(address)
  expect(mapper.events(bell)).toEqual([])
  mapper.unmap(dev, index)
  expect(mapper.events(bell)).toEqual([far])
})

test('a failed mmap of several pages maps none and spends its index (117 to 119, 290)', () => {
  const { near, index, refs } = granted()
  const { index: mapped, address } = mapAll([...refs, 500])
  expect(address).toBe(-ERRNO.EINVAL)
  expect(mapper.process.explain(dev)).toEqual({ domid: 1, ref: 500, gntst: -1 })
  expect(mapper.mmap(dev, mapped, { count: 2 })).toBe(-ERRNO.EINVAL)
  granter.munmap(near)
  granter.dealloc(alloc, index)
  expect(mapper.canMap(1, refs[0]!)).toBe(false)
  expect(mapper.notify(dev, mapped, EVENT, port)).toBe(0)
  expect(mapper.unmap(dev, mapped, 2)).toBe(0)
  expect(mapper.events(bell)).toEqual([far])
})

test('one grant can be mapped 64 times (122)', () => {
  const { refs } = granted()
  for (let i = 0; i < 64; i++) mapper.mapped(dev, 1, refs[0]!)
  expect(mapper.canMap(1, refs[0]!)).toBe(false)
})

test('a byte armed before a read-only mapping is not cleared, and kills nobody (307)', () => {
  const { near, refs } = granted()
  const { index } = mapper.map(dev, [{ domid: 1, ref: refs[0]! }])
  expect(mapper.notify(dev, index + 5, BYTE)).toBe(0)
  const address = mapper.mmap(dev, index, { prot: PROT_READ })
  mapper.munmap(address)
  expect(granter.page(near)[5]).toBe(7)
})

test('what the peer maps outlives its DEALLOC by a second after the unmap (58 to 60)', () => {
  const { near, index, refs } = granted()
  const { address } = mapAll(refs)
  granter.munmap(near)
  expect(granter.dealloc(alloc, index)).toBe(0)
  expect(mapper.page(address)[0]).toBe(7)
  expect(mapper.canMap(1, refs[0]!)).toBe(true)
  mapper.munmap(address)
  expect(mapper.canMap(1, refs[0]!)).toBe(true)
  rig.clock.advance(1000)
  expect(mapper.canMap(1, refs[0]!)).toBe(false)
  expect(granter.alloc(alloc).refs).toEqual(refs)
})

test('the timer looks after ten deferred grants a second', () => {
  const { near, index, refs } = granted(25)
  const { address } = mapAll(refs)
  granter.munmap(near, 25)
  granter.dealloc(alloc, index, 25)
  mapper.munmap(address, 25)
  const left = [25, 15, 5, 0]
  for (const count of left) {
    expect(granter.process.domain.grantRefs.deferred.length).toBe(count)
    rig.clock.advance(1000)
  }
})

test('UNMAP narrows the index to 32 bits of pages, the notification does not (278)', () => {
  mapper.map(dev, [{ domid: 1, ref: 8 }])
  expect(mapper.unmap(dev, 2 ** 44)).toBe(0)
  expect(mapper.unmap(dev, 0)).toBe(-ERRNO.ENOENT)
  mapper.map(dev, [{ domid: 1, ref: 8 }])
  expect(mapper.notify(dev, 0, 0)).toBe(0)
  expect(mapper.notify(dev, 2 ** 44, 0)).toBe(-ERRNO.ENOENT)
})

test('a refused notification gives its port back', () => {
  expect(mapper.notify(dev, 0, EVENT, port)).toBe(-ERRNO.ENOENT)
  const { index } = mapper.map(dev, [{ domid: 1, ref: 8 }])
  for (const action of [EVENT, EVENT, 0]) expect(mapper.notify(dev, index, action, port)).toBe(0)
  // Held by its descriptor alone again: it closes with that.
  const { ports } = mapper.process.domain
  ports.unbind(port)
  expect(ports.has(port)).toBe(false)
})

test('pages of one gntalloc mapping are released together, with its last piece (57, 239)', () => {
  const { near, index, refs } = granted(2)
  const own = granter.open('evtchn')
  const { port: armed, far: heard } = granter.channel(granter.open('evtchn'), own)
  granter.notify(alloc, index, EVENT, armed)
  granter.dealloc(alloc, index, 2)
  granter.process.mapAnonymous(near, PAGE_SIZE)
  expect(granter.events(own)).toEqual([])
  expect(mapper.canMap(1, refs[0]!)).toBe(true)
  expect(granter.page(near + PAGE_SIZE)[0]).toBe(7)
  granter.munmap(near + PAGE_SIZE)
  expect(granter.events(own)).toEqual([heard])
  expect(mapper.canMap(1, refs[0]!)).toBe(false)
})
