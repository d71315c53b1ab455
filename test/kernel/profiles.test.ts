import { expect, test } from 'vitest'
import { LocalEventQueue } from '../../src/kernel/local-event-queue.ts'
import { PROFILES } from '../../src/kernel/profiles.ts'
import { Rig } from './machine-rig.ts'

const BOTH = 3
const BYTE = 5
const NOW = PROFILES['linux-6.12']

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
