import { expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { LocalEventQueue } from '../../src/kernel/local-event-queue.ts'
import { type KernelProfile, PROFILES } from '../../src/kernel/profiles.ts'
import { Rig } from './machine-rig.ts'

const BOTH = 3
const BYTE = 5
const NOW = PROFILES['linux-6.12']

/** What a program sees of these needs a fork, or to look between two steps of the driver. */
test.each([true, false])('mappings are inherited: %s (cases 44, 126, 317)', inheritsMappings => {
  const rig = new Rig()
  const profile: KernelProfile = { ...NOW, inheritsMappings }
  const granter = rig.actor(1, { profile })
  const alloc = granter.open('gntalloc')
  const { index, refs } = granter.alloc(alloc, 1, 2)
  const own = granter.process.vma(granter.mmap(alloc, index))?.backing
  const isInherited = { pv: false, hvm: inheritsMappings }
  expect(own?.isInherited).toBe(inheritsMappings)
  for (const [domid, kind] of [
    [2, 'hvm'],
    [3, 'pv'],
  ] as const) {
    const mapper = rig.actor(domid, { kind, profile })
    const [ref] = domid === 2 ? refs : granter.alloc(alloc, 1, domid).refs
    const { address } = mapper.mapped(mapper.open('gntdev'), 1, ref as number)
    expect(mapper.process.vma(address)?.backing?.isInherited).toBe(isInherited[kind])
  }
  rig.finish()
})

test.each([
  { kind: 'pv', mapsForAnyProcess: true, answer: 'mapped' },
  { kind: 'pv', mapsForAnyProcess: false, answer: -ERRNO.EINVAL },
  { kind: 'hvm', mapsForAnyProcess: false, answer: 'mapped' },
] as const)('another process than the opener maps in $kind: $answer (case 275)', options => {
  const { kind, mapsForAnyProcess, answer } = options
  const rig = new Rig()
  const granter = rig.actor(1)
  const [ref] = granter.alloc(granter.open('gntalloc'), 1, 2).refs
  const opener = rig.actor(2, { kind, profile: { ...NOW, mapsForAnyProcess } })
  const dev = opener.open('gntdev')
  expect(opener.map(dev, [{ domid: 1, ref: ref as number }]).result).toBe(0)
  const request = { firstPage: 0, count: 1, isWritable: true, isShared: true }
  const made = opener.process.file(dev)?.mmap({ ...request, process: rig.actor(2).process })
  if (typeof made === 'object') {
    made.revoke?.(0, 1)
    made.closed()
  }
  expect(typeof made === 'object' ? 'mapped' : made).toBe(answer)
  rig.finish()
})

test.each([
  { kind: 'pv', clearsByteFirst: true, seen: 0 },
  { kind: 'pv', clearsByteFirst: false, seen: 0 },
  { kind: 'hvm', clearsByteFirst: true, seen: 0 },
  { kind: 'hvm', clearsByteFirst: false, seen: 7 },
] as const)('at the event the byte is $seen in $kind, cleared first: $clearsByteFirst', options => {
  const { kind, clearsByteFirst, seen } = options
  let look = (): void => {}
  class Looking extends LocalEventQueue {
    override raise(port: number): void {
      look()
      super.raise(port)
    }
  }
  const rig = new Rig({ eventQueue: file => new Looking(file.domain.profile) })
  const granter = rig.actor(1)
  const alloc = granter.open('gntalloc')
  const { index: page, refs } = granter.alloc(alloc, 1, 2)
  const near = granter.mmap(alloc, page)
  const mapper = rig.actor(2, { kind, profile: { ...NOW, clearsByteFirst } })
  const dev = mapper.open('gntdev')
  const { port } = mapper.channel(mapper.open('evtchn'), mapper.open('evtchn'))
  const { index, address } = mapper.mapped(dev, 1, refs[0] as number)
  granter.page(near)[BYTE] = 7
  expect(mapper.notify(dev, index + BYTE, BOTH, port)).toBe(0)
  const bytes: (number | undefined)[] = []
  look = () => bytes.push(granter.page(near)[BYTE])
  mapper.munmap(address)
  mapper.unmap(dev, index)
  expect(bytes).toEqual([seen])
  expect(granter.page(near)[BYTE]).toBe(0)
  rig.finish()
})
