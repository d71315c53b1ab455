import { afterEach, beforeEach, expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { type Actor, PROT_READ, Rig, RW } from './machine-rig.ts'

const BYTE = 1
const EVENT = 2

let rig: Rig
let granter: Actor
let mapper: Actor
let alloc: number
let dev: number
let port: number
let far: number
let bell: number

beforeEach(() => {
  rig = new Rig()
  granter = rig.actor(1)
  mapper = rig.actor(2, { kind: 'hvm' })
  alloc = granter.open('gntalloc')
  dev = mapper.open('gntdev')
  bell = mapper.open('evtchn')
  ;({ port, far } = mapper.channel(mapper.open('evtchn'), bell))
})
afterEach(() => rig.finish())

function mapped(count: number): { near: number; index: number; address: number; refs: number[] } {
  const allocated = granter.alloc(alloc, count, 2)
  const near = granter.mmap(alloc, allocated.index, { count })
  granter.page(near).fill(7)
  const { refs } = allocated
  const { index } = mapper.map(
    dev,
    refs.map(ref => ({ domid: 1, ref })),
  )
  return { near, index, address: mapper.mmap(dev, index, { count }), refs }
}

test('nothing happens before UNMAP, then byte and event (158, 310)', () => {
  const { near, index, address } = mapped(2)
  mapper.notify(dev, index + 5, BYTE | EVENT, port)
  mapper.munmap(address)
  expect(mapper.page(address + PAGE_SIZE)[0]).toBe(0)
  mapper.munmap(address + PAGE_SIZE)
  expect([granter.page(near)[5], mapper.events(bell)]).toEqual([7, []])
  mapper.unmap(dev, index, 2)
  expect([granter.page(near)[5], mapper.events(bell)]).toEqual([0, [far]])
})

test('another mapping put over it is nothing either (311)', () => {
  const { near, index, address } = mapped(1)
  mapper.notify(dev, index + 5, BYTE | EVENT, port)
  mapper.process.mapAnonymous(address, PAGE_SIZE)
  expect([granter.page(near)[5], mapper.events(bell)]).toEqual([7, []])
  mapper.unmap(dev, index)
  expect([granter.page(near)[5], mapper.events(bell)]).toEqual([0, [far]])
})

test('a change of the protection keeps the page (312)', () => {
  const { near, address } = mapped(1)
  expect(mapper.process.protect(address, PAGE_SIZE, PROT_READ)).toBe(0)
  expect(mapper.process.protect(address, PAGE_SIZE, RW)).toBe(0)
  mapper.page(address)[3] = 9
  expect(granter.page(near)[3]).toBe(9)
})

test('a grant that was munmapped and not UNMAPped stays pinned (140)', () => {
  const { near, index, address, refs } = mapped(1)
  mapper.munmap(address)
  granter.munmap(near)
  granter.dealloc(alloc, 0)
  rig.clock.advance(3000)
  expect(mapper.canMap(1, refs[0]!)).toBe(true)
  mapper.unmap(dev, index)
  rig.clock.advance(3000)
  expect(mapper.canMap(1, refs[0]!)).toBe(false)
})

test('the good pages of a failed mmap stay pinned until UNMAP (120)', () => {
  const { index, refs } = granter.alloc(alloc, 1, 2)
  const map = mapper.map(dev, [
    { domid: 1, ref: refs[0]! },
    { domid: 1, ref: 500 },
  ])
  expect(mapper.mmap(dev, map.index, { count: 2 })).toBe(-ERRNO.EINVAL)
  granter.dealloc(alloc, index)
  rig.clock.advance(3000)
  expect(mapper.canMap(1, refs[0]!)).toBe(true)
  mapper.unmap(dev, map.index, 2)
  rig.clock.advance(3000)
  expect(mapper.canMap(1, refs[0]!)).toBe(false)
})

test('one grant can be mapped 128 times (122)', () => {
  const { refs } = granter.alloc(alloc, 1, 2)
  for (let i = 0; i < 128; i++) mapper.mapped(dev, 1, refs[0]!)
  expect(mapper.canMap(1, refs[0]!)).toBe(false)
})

test('a byte armed before a read-only mapping is not cleared (323)', () => {
  const { index, refs } = granter.alloc(alloc, 1, 2)
  const near = granter.mmap(alloc, index)
  granter.page(near)[5] = 7
  const map = mapper.map(dev, [{ domid: 1, ref: refs[0]! }])
  mapper.notify(dev, map.index + 5, BYTE)
  mapper.munmap(mapper.mmap(dev, map.index, { prot: PROT_READ }))
  mapper.unmap(dev, map.index)
  expect(granter.page(near)[5]).toBe(7)
})
