import { expect, onTestFinished, test } from 'vitest'
import { Anchor } from '../../src/memory/anchor.ts'
import { Ranges } from '../../src/memory/ranges.ts'
import { collect, collectUntil } from './collect.ts'
import { mappingAt } from './maps.ts'
import { mapPages, PAGE, SHARED, sharedFile } from './shared-file.ts'

function newRanges(): Ranges {
  const memory = new Ranges()
  onTestFinished(() => memory.close())
  return memory
}

/** A Mapping as the typed API has it: an object and its bytes, either of which may go first. */
class Mapping {
  readonly bytes: Uint8Array
  readonly anchor: Anchor<{ address: number; memory: Ranges }>

  constructor(memory: Ranges, fd: number, released: number[]) {
    const address = mapPages(memory, fd, 0, 1)
    this.bytes = memory.view(address, PAGE)
    this.anchor = new Anchor(
      state => {
        released.push(state.address)
        state.memory.munmap(state.address, PAGE)
      },
      { address, memory },
    )
    this.anchor.hold(this.bytes.buffer)
  }
}

test('the addresses of a tombstone go back when its last view is collected', async () => {
  const memory = newRanges()
  const address = mapPages(memory, sharedFile(1), 0, 1)
  // Only a DataView of the buffer is left: it keeps the tombstone as well as `bytes` would.
  const held: DataView[] = []
  const look = () => held.push(new DataView(memory.view(address, PAGE).buffer))
  look()
  memory.munmap(address, PAGE)
  await collect()
  expect(memory.usage.tombstones).toBe(PAGE)
  expect(held[0]!.getUint8(0)).toBe(0)
  held.pop()
  expect(await collectUntil(() => memory.usage.tombstones === 0)).toBe(true)
  expect(mappingAt(address)).toBeUndefined()
})

test('no other mapping is given the addresses of a tombstone', () => {
  const memory = newRanges()
  const fd = sharedFile(1)
  const address = mapPages(memory, fd, 0, 1)
  const stale = memory.view(address, PAGE)
  memory.munmap(address, PAGE)
  const addresses = Array.from({ length: 200 }, () => mapPages(memory, fd, 0, 1))
  for (const other of addresses) memory.view(other, PAGE)[0] = 1
  expect(addresses).not.toContain(address)
  expect(stale[0]).toBe(0)
})

test('a mapping whose views were collected is viewed again, and unmapped at once', async () => {
  const memory = newRanges()
  const fd = sharedFile(1)
  const address = mapPages(memory, fd, 0, 1)
  const write = (value: number) => {
    const bytes = memory.view(address, PAGE)
    expect(bytes[9]).toBe(value - 1)
    bytes[9] = value
    return new WeakRef(bytes.buffer)
  }
  for (const value of [1, 2, 3]) {
    const buffer = write(value)
    expect(await collectUntil(() => buffer.deref() === undefined)).toBe(true)
  }
  memory.munmap(address, PAGE)
  expect(mappingAt(address)).toBeUndefined()
})

test('a view keeps the memory of a peer while all else of the mapping is collected', async () => {
  const memory = newRanges()
  const fd = sharedFile(1)
  const peer = memory.view(mapPages(memory, fd, 0, 1), PAGE)
  const released: number[] = []
  const held: Uint8Array[] = []
  const make = () => {
    const { bytes } = new Mapping(memory, fd, released)
    held.push(bytes)
    return memory.addressOf(bytes)
  }
  const address = make()
  await collect()
  expect(released).toEqual([])
  peer[3] = 33
  expect(held[0]![3]).toBe(33)
  held.pop()
  expect(await collectUntil(() => released.length > 0)).toBe(true)
  expect(released).toEqual([address])
  expect(await collectUntil(() => mappingAt(address) === undefined)).toBe(true)
})

test('an object keeps its memory while its views are collected', async () => {
  const memory = newRanges()
  const released: number[] = []
  const fd = sharedFile(1)
  const held: Mapping['anchor'][] = []
  const make = () => held.push(new Mapping(memory, fd, released).anchor)
  make()
  await collect()
  expect(released).toEqual([])
  expect(held[0]!.isPending).toBe(true)
  held.pop()
  expect(await collectUntil(() => released.length > 0)).toBe(true)
})

test('a dismissed anchor does not release, and is dismissed once', async () => {
  const memory = newRanges()
  const released: number[] = []
  const fd = sharedFile(1)
  const make = () => {
    const mapping = new Mapping(memory, fd, released)
    const { anchor } = mapping
    expect([anchor.dismiss(), anchor.dismiss(), anchor.isPending]).toEqual([true, false, false])
    return new WeakRef(mapping)
  }
  const watcher = make()
  expect(await collectUntil(() => watcher.deref() === undefined)).toBe(true)
  expect(released).toEqual([])
})

test('an anchor with several holders waits for the last', async () => {
  const released: string[] = []
  const holders: object[] = [{}, {}, {}]
  const anchor = () => {
    const made = new Anchor(state => released.push(state), 'gone')
    for (const holder of holders) made.hold(holder).hold(holder)
  }
  anchor()
  while (holders.length > 0) {
    await collect()
    expect(released).toEqual([])
    holders.pop()
  }
  expect(await collectUntil(() => released.length > 0)).toBe(true)
  expect(released).toEqual(['gone'])
})

test('a thousand mappings that everybody forgot leave nothing behind', async () => {
  const memory = newRanges()
  const fd = sharedFile(4)
  const released: number[] = []
  const make = (i: number) => {
    new Mapping(memory, fd, released).bytes[0] = i
  }
  for (let i = 0; i < 1000; i++) make(i)
  expect(await collectUntil(() => released.length === 1000)).toBe(true)
  expect(await collectUntil(() => memory.usage.tombstones === 0)).toBe(true)
  expect(memory.usage.mapped).toBe(0)
})

test('a forgotten Ranges does not take the memory from under its views', async () => {
  const fd = sharedFile(1)
  const peer = newRanges()
  const mine = peer.view(mapPages(peer, fd, 0, 1), PAGE)
  const forgotten = () => {
    const memory = new Ranges()
    const address = memory.map({ fd, offset: 0, length: PAGE }, SHARED)
    return memory.view(address, PAGE)
  }
  const bytes = forgotten()
  await collect()
  mine[0] = 44
  expect(bytes[0]).toBe(44)
})
