import { afterEach, beforeEach, expect, test } from 'vitest'
import { EVTCHN_UNBIND } from '../../src/abi/evtchn.ts'
import { type Actor, Rig, RW } from './machine-rig.ts'

const BYTE = 1
const EVENT = 2

let rig: Rig
let dying: Actor
let watcher: Actor
/** The watcher's descriptor: its ports say who fired. */
let bell: number

beforeEach(() => {
  rig = new Rig()
  dying = rig.actor()
  watcher = rig.actor()
  bell = watcher.open('evtchn')
})
afterEach(() => rig.finish())

/** A port of another process, on which an armed event is read by the watcher as the answer. */
function armedPort(owner: number): { port: number; far: number } {
  const port = watcher.bindUnbound(owner)
  const far = watcher.bindInterdomain(bell, watcher.domid, port)
  watcher.events(bell)
  return { port, far }
}

/** A page with an event armed on it. */
function armedPage(fd: number, owner: number): { index: number; far: number } {
  const { index } = dying.alloc(fd)
  const { port, far } = armedPort(owner)
  expect(dying.notify(fd, index, EVENT, port)).toBe(0)
  return { index, far }
}

test('descriptors of a dead process are released from the highest number down (285, 286)', () => {
  const owner = watcher.open('evtchn')
  const fars = ['gntalloc', 'gntdev', 'gntalloc', 'gntdev'].map(device => {
    const fd = dying.open(device as 'gntalloc')
    if (device === 'gntalloc') return armedPage(fd, owner).far
    const { port, far } = armedPort(owner)
    dying.map(fd, [{ domid: 1, ref: 8 }])
    expect(dying.notify(fd, 0, EVENT, port)).toBe(0)
    return far
  })
  dying.process.kill()
  expect(watcher.events(bell)).toEqual(fars.reverse())
})

test('memory goes before descriptors (233, 287)', () => {
  const owner = watcher.open('evtchn')
  const x = dying.open('gntalloc')
  const y = dying.open('gntalloc')
  const first = armedPage(x, owner)
  const second = armedPage(y, owner)
  const mapped = armedPage(y, owner)
  dying.mmap(y, mapped.index)
  dying.dealloc(y, mapped.index)
  dying.process.kill()
  expect(watcher.events(bell)).toEqual([mapped.far, second.far, first.far])
})

test('a file that only a mapping holds is released last of all (288)', () => {
  const owner = watcher.open('evtchn')
  const fds = [0, 1, 2].map(() => dying.open('gntalloc'))
  const pages = fds.map(fd => armedPage(fd, owner))
  dying.mmap(fds[0]!, pages[0]!.index)
  dying.process.close(fds[0]!)
  expect(watcher.events(bell)).toEqual([])
  dying.process.kill()
  expect(watcher.events(bell)).toEqual([pages[2]!.far, pages[1]!.far, pages[0]!.far])
})

test('one munmap over three mappings closes them in the order of addresses (289)', () => {
  const owner = watcher.open('evtchn')
  const fd = dying.open('gntalloc')
  const pages = [0, 1, 2].map(() => armedPage(fd, owner))
  const base = 0x5000_0000
  for (const [place, page] of [0, 2, 1].entries()) {
    dying.mmap(fd, pages[page]!.index, { at: base + place * 4096 })
  }
  for (const { index } of pages) dying.dealloc(fd, index)
  expect(watcher.events(bell)).toEqual([])
  dying.munmap(base, 3)
  expect(watcher.events(bell)).toEqual([0, 2, 1].map(page => pages[page]!.far))
})

test('at death mappings fire in the order of addresses, not of allocation (291)', () => {
  const owner = watcher.open('evtchn')
  const fd = dying.open('gntalloc')
  const pages = [0, 1, 2].map(() => armedPage(fd, owner))
  for (const [i, { index }] of pages.entries()) {
    dying.mmap(fd, index, { at: 0x5000_0000 - i * 0x10000 })
    dying.dealloc(fd, index)
  }
  dying.process.kill()
  expect(watcher.events(bell)).toEqual(pages.map(page => page.far).reverse())
})

test('a closed descriptor releases its pages in the order of allocation (230)', () => {
  const owner = watcher.open('evtchn')
  const fd = dying.open('gntalloc')
  const fars = [0, 1, 2].map(() => armedPage(fd, owner).far)
  dying.process.close(fd)
  expect(watcher.events(bell)).toEqual(fars)
})

test('an event is sent although its port was unbound meanwhile (81)', () => {
  const owner = watcher.open('evtchn')
  const fd = dying.open('gntalloc')
  const { index, far } = armedPage(fd, owner)
  watcher.process.close(owner)
  dying.dealloc(fd, index)
  expect(watcher.events(bell)).toEqual([far])
})

test('a port held by a notification keeps its number until it is let go (82, 235)', () => {
  const owner = watcher.open('evtchn')
  const fd = dying.open('gntalloc')
  const { index } = dying.alloc(fd)
  const { port, far } = armedPort(owner)
  dying.notify(fd, index, EVENT, port)
  expect(watcher.word(owner, EVTCHN_UNBIND, port)).toBe(0)
  const other = watcher.bindUnbound(owner)
  expect(other).toBeGreaterThan(far)
  expect(watcher.bindInterdomain(bell, 1, port)).toBeLessThan(0)
  dying.notify(fd, index, 0)
  expect(watcher.bindUnbound(owner)).toBe(port)
})

test('three sends on one port before its write-back are one event, and then one more (234)', () => {
  const owner = watcher.open('evtchn')
  const fd = dying.open('gntalloc')
  const { port, far } = armedPort(owner)
  for (let i = 0; i < 3; i++) {
    const { index } = dying.alloc(fd)
    dying.notify(fd, index, EVENT, port)
  }
  dying.process.close(fd)
  expect(watcher.events(bell)).toEqual([far])
  expect(watcher.events(bell)).toEqual([far])
  expect(watcher.events(bell)).toEqual([])
})

test('a killed mapper clears its byte and sends its event, byte first (163)', () => {
  const owner = watcher.open('evtchn')
  const fd = watcher.open('gntalloc')
  const { index, refs } = watcher.alloc(fd)
  const near = watcher.mmap(fd, index)
  watcher.page(near)[100] = 7
  const dev = dying.open('gntdev')
  const { index: mapped } = dying.mapped(dev, 1, refs[0]!, RW)
  const { port, far } = armedPort(owner)
  expect(dying.notify(dev, mapped + 100, BYTE | EVENT, port)).toBe(0)
  dying.process.kill()
  expect(watcher.page(near)[100]).toBe(0)
  expect(watcher.events(bell)).toEqual([far])
})
