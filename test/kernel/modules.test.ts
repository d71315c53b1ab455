import { afterEach, beforeEach, expect, test } from 'vitest'
import { DEVICE_NAMES } from '../../src/abi/devices.ts'
import { ERRNO } from '../../src/abi/errno.ts'
import { UNMAP_NOTIFY_SEND_EVENT } from '../../src/abi/gntalloc.ts'
import { MODULES, type ModuleName } from '../../src/abi/modules.ts'
import type { Process } from '../../src/kernel/process.ts'
import { PROFILES } from '../../src/kernel/profiles.ts'
import { type Actor, Rig } from './machine-rig.ts'

const { EMFILE, ENFILE, ENOENT } = ERRNO

let rig: Rig
let actor: Actor
beforeEach(() => {
  rig = new Rig()
  actor = rig.actor()
})
afterEach(() => rig.finish())

/** The number of open files that keep a module where it is; 0 when it went. */
function usersOf(module: ModuleName, of: Actor = actor): number {
  const trouble = of.process.domain.modules.unload(module)
  return Number(/is in use, open files: (\d+);/.exec(trouble ?? '0;')?.[1] ?? 0)
}

test('a device whose module is not loaded is not there, and the module is named', () => {
  for (const device of DEVICE_NAMES) {
    const { modules } = actor.process.domain
    const module = MODULES[device]
    expect(modules.unload(module)).toBeUndefined()
    expect(modules.missing).toEqual([module])
    expect(actor.open(device)).toBe(-ENOENT)
    expect(actor.process.explain()).toEqual({
      module,
      fix: `load the driver: ${module} in domain 1`,
    })
    modules.load(module)
    const fd = actor.open(device)
    expect([fd, actor.process.explain()]).toEqual([3, undefined])
    actor.process.close(fd)
  }
})

test('the file is looked for after the limits of descriptors and of open files', () => {
  const { limits, modules } = actor.process.domain
  modules.unload('xen-gntdev')
  limits.maxDomainFiles = 0
  expect(actor.open('gntdev')).toBe(-ENFILE)
  limits.maxFiles = 0
  expect(actor.open('gntdev')).toBe(-EMFILE)
})

test('each domain has modules of its own, and those that it was made with', () => {
  const other = rig.actor(2, { modules: ['xen-evtchn'] })
  expect(other.process.domain.modules.missing).toEqual(['xen-gntalloc', 'xen-gntdev'])
  expect([other.open('gntalloc'), other.open('evtchn')]).toEqual([-ENOENT, 3])
  other.process.domain.modules.load('xen-gntalloc')
  expect(actor.process.domain.modules.missing).toEqual([])
  expect(usersOf('xen-evtchn')).toBe(0)
  expect(other.process.domain.modules.missing).toEqual(['xen-gntdev'])
})

test('to load what is there and to take out what is not changes nothing', () => {
  const { modules } = actor.process.domain
  const fd = actor.open('evtchn')
  modules.load('xen-evtchn')
  expect(actor.process.poll(fd).out).toBe(true)
  for (let i = 0; i < 2; i++) expect(modules.unload('xen-gntdev')).toBeUndefined()
  expect(modules.missing).toEqual(['xen-gntdev'])
})

test('a module stays while any process of the domain has a file of its device open', () => {
  const { process } = actor
  const [one, two] = [actor.open('gntdev'), actor.open('gntdev')]
  const other = rig.actor()
  other.open('gntdev')
  actor.open('evtchn')
  const copy = process.dup(one)
  expect(usersOf('xen-gntdev')).toBe(3)
  expect(process.domain.modules.unload('xen-gntdev')).toBe(
    'module xen-gntdev of domain 1 is in use, open files: 3; ' +
      'close them, and unmap what was mapped of them',
  )
  for (const fd of [one, two]) process.close(fd)
  other.process.kill()
  expect([usersOf('xen-gntdev'), actor.open('gntdev')]).toEqual([1, one])
  for (const fd of [one, copy]) process.close(fd)
  expect([usersOf('xen-gntdev'), actor.open('gntdev')]).toEqual([0, -ENOENT])
})

test('a mapping that outlives its descriptor keeps the module of its device', () => {
  const alloc = actor.open('gntalloc')
  const { index, refs } = actor.alloc(alloc)
  const near = actor.mmap(alloc, index)
  const dev = actor.open('gntdev')
  const far = actor.mapped(dev, 1, refs[0]!).address
  actor.process.close(alloc)
  actor.process.close(dev)
  expect([usersOf('xen-gntalloc'), usersOf('xen-gntdev')]).toEqual([1, 1])
  expect(actor.munmap(far)).toBe(0)
  expect([usersOf('xen-gntalloc'), usersOf('xen-gntdev')]).toEqual([1, 0])
  expect(actor.munmap(near)).toBe(0)
  expect(usersOf('xen-gntalloc')).toBe(0)
})

test('a file that only a forked child has left keeps the module too', () => {
  actor.open('evtchn')
  const child = actor.process.fork(900) as Process
  actor.process.kill()
  expect(usersOf('xen-evtchn')).toBe(1)
  child.kill()
  expect(usersOf('xen-evtchn')).toBe(0)
})

test('what the kernel looks after is not lost with the module', () => {
  const { grantRefs, limits, modules, ports, xen } = actor.process.domain
  const peer = rig.actor(2)
  limits['gntalloc.limit'] = 3
  const alloc = actor.open('gntalloc')
  const { refs } = actor.alloc(alloc, 2, 2)
  const dev = peer.open('gntdev')
  const { address } = peer.mapped(dev, 1, refs[0]!)
  peer.page(address)[0] = 42
  actor.process.close(alloc)
  expect(modules.unload('xen-gntalloc')).toBeUndefined()
  // The peer maps the one page still, and the kernel's timer goes on looking.
  expect([grantRefs.deferred, peer.page(address)[0]]).toEqual([[refs[0]], 42])
  expect(peer.munmap(address)).toBe(0)
  rig.clock.advance(1000)
  expect([grantRefs.deferred, xen.grants.pins(refs[0]!)]).toEqual([[], 0])
  modules.load('xen-gntalloc')
  const again = actor.open('gntalloc')
  expect(actor.alloc(again, 3, 2)).toMatchObject({ result: 0, index: 0 })
  expect(actor.alloc(again, 1, 2).result).toBe(-ERRNO.ENOSPC)

  // A port that a notification holds is bound without a descriptor, and without the module.
  const bell = actor.open('evtchn')
  const port = actor.bindUnbound(bell, 2)
  expect(actor.notify(again, 0, UNMAP_NOTIFY_SEND_EVENT, port)).toBe(0)
  actor.process.close(bell)
  expect(modules.unload('xen-evtchn')).toBeUndefined()
  expect([...ports.held()]).toEqual([{ port, isRead: false }])
})

test('the gntalloc of 2011 finds after a reload what is still mapped of before', () => {
  const old = rig.actor(3, { profile: PROFILES.v6 })
  const { grantRefs, modules } = old.process.domain
  const peer = rig.actor(2)
  const alloc = old.open('gntalloc')
  const { refs } = old.alloc(alloc, 1, 2)
  const { address } = peer.mapped(peer.open('gntdev'), 3, refs[0]!)
  old.process.close(alloc)
  expect(modules.unload('xen-gntalloc')).toBeUndefined()
  expect(peer.munmap(address)).toBe(0)
  modules.load('xen-gntalloc')
  expect(grantRefs.deferred).toEqual(refs)
  old.alloc(old.open('gntalloc'), 0)
  expect(grantRefs.deferred).toEqual([])
})

test('a domain that was destroyed has no kernel to load a module into', () => {
  const { modules } = actor.process.domain
  const { refs } = actor.alloc(actor.open('gntalloc'), 1, 2)
  const peer = rig.actor(2)
  const { address } = peer.mapped(peer.open('gntdev'), 1, refs[0]!)
  rig.machine.destroyDomain(1)
  for (const change of [() => modules.load('xen-evtchn'), () => modules.unload('xen-evtchn')]) {
    expect(change).toThrow('domain 1 was destroyed')
  }
  expect(peer.munmap(address)).toBe(0)
})
