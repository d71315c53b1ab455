import { afterEach, beforeEach, expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { EVTCHN_NOTIFY } from '../../src/abi/evtchn.ts'
import { type Actor, Rig } from './machine-rig.ts'

let rig: Rig
let a: Actor
let b: Actor

beforeEach(() => {
  rig = new Rig()
  a = rig.actor(1)
  b = rig.actor(2)
})
afterEach(() => rig.finish())

test('a page of a destroyed domain stays mapped, and can be mapped again meanwhile (320)', () => {
  const alloc = b.open('gntalloc')
  const { index, refs } = b.alloc(alloc, 1, 1)
  b.page(b.mmap(alloc, index))[5] = 7
  const near = a.open('evtchn')
  const port = a.bindUnbound(near, 2)
  const remote = b.bindInterdomain(b.open('evtchn'), 1, port)
  const dev = a.open('gntdev')
  const { index: mapped, address } = a.mapped(dev, 2, refs[0]!)
  a.notify(dev, mapped + 5, 3, port)

  rig.machine.destroyDomain(2)
  expect(rig.machine.domain(2)?.isDying).toBe(true)
  a.page(address)[6] = 1
  expect(a.page(address)[5]).toBe(7)
  expect(a.word(near, EVTCHN_NOTIFY, port)).toBe(0)
  expect(a.events(near)).toEqual([])
  expect(a.canMap(2, refs[0]!)).toBe(true)
  expect(a.bindInterdomain(near, 2, remote)).toBe(-ERRNO.EINVAL)
  expect(rig.machine.leftovers()).toContain(
    'domain 2: destroyed, but 1 of its pages are still mapped',
  )
  expect([a.munmap(address), a.unmap(dev, mapped)]).toEqual([0, 0])
  expect(rig.machine.domain(2)).toBeUndefined()
  expect(a.bindInterdomain(near, 2, remote)).toBe(-ERRNO.ESRCH)
})

test('a destroyed mapper clears no byte and sends no event, and lets go of its pins (321)', () => {
  const alloc = a.open('gntalloc')
  const { index, refs } = a.alloc(alloc, 1, 2)
  const near = a.mmap(alloc, index)
  a.page(near)[5] = 7
  const bell = a.open('evtchn')
  const port = a.bindUnbound(bell, 2)
  const remote = b.bindInterdomain(b.open('evtchn'), 1, port)
  const dev = b.open('gntdev')
  const { index: mapped } = b.mapped(dev, 1, refs[0]!)
  expect(b.notify(dev, mapped + 5, 3, remote)).toBe(0)

  rig.machine.destroyDomain(2)
  expect(a.page(near)[5]).toBe(7)
  expect(a.events(bell)).toEqual([])
  expect(a.word(bell, EVTCHN_NOTIFY, port)).toBe(0)
  a.munmap(near)
  expect(a.dealloc(alloc, index)).toBe(0)
  expect(a.alloc(alloc).refs).toEqual(refs)
})

test('domain ids rise, and one that lives or is a zombie is not given twice', () => {
  expect(rig.machine.createDomain().domid).toBe(3)
  rig.machine.destroyDomain(3)
  expect(rig.machine.createDomain().domid).toBe(4)
  expect(() => rig.machine.createDomain({ domid: 1 })).toThrow(/exists/)
  expect(() => rig.machine.createDomain({ domid: 0x7ff0 })).toThrow(RangeError)
})

test('a domain that granted to itself leaves nothing', () => {
  const alloc = b.open('gntalloc')
  const { refs } = b.alloc(alloc, 2, 2)
  b.mapped(b.open('gntdev'), 2, refs[0]!)
  b.channel(b.open('evtchn'), b.open('evtchn'))
  rig.machine.destroyDomain(2)
  expect(rig.machine.domain(2)).toBeUndefined()
  expect(rig.pages.inUse).toBe(0)
})

test('a killed granter goes on being mapped (276)', () => {
  const alloc = b.open('gntalloc')
  const { refs } = b.alloc(alloc, 1, 1)
  const dev = a.open('gntdev')
  const { address } = a.mapped(dev, 2, refs[0]!)
  b.process.kill()
  a.page(address)[0] = 1
  expect(a.canMap(2, refs[0]!)).toBe(true)
  a.munmap(address)
  rig.clock.advance(3000)
  expect(a.canMap(2, refs[0]!)).toBe(false)
})
