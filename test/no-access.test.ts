import { describe, expect, test } from 'vitest'
import { decodeAllocGrefReply, encodeAllocGref, GNTALLOC_ALLOC_GREF } from '../src/abi/gntalloc.ts'
import {
  decodeMapGrantRefIndex,
  encodeMapGrantRef,
  GNTDEV_MAP_GRANT_REF,
} from '../src/abi/gntdev.ts'
import { MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE } from '../src/abi/mman.ts'
import { PAGE_SIZE } from '../src/abi/page.ts'
import { giveOrder } from '../src/host/orders.ts'
import type { Address, Device, Platform } from '../src/platform.ts'
import { createWorld } from '../src/sim/index.ts'
import { startHost } from '../src/start-host.ts'

const GRANTER = 1
const MAPPER = 2
const READ_WRITE = PROT_READ | PROT_WRITE

interface Pair {
  readonly granter: Platform
  readonly mapper: Platform
  readonly end: () => Promise<void>
}

/** A process that grants, and one of a domain of either kind that maps. */
async function pairOn(platform: string, kind: 'pv' | 'hvm'): Promise<Pair> {
  if (platform === 'world') {
    const world = createWorld()
    const granter = world.domain(GRANTER).process()
    return {
      granter,
      mapper: world.domain(MAPPER, { kind }).process(),
      end: async () => world.close(),
    }
  }
  const machine = await startHost({ clock: 'manual' })
  giveOrder(machine.directory, { order: 'domain', domid: MAPPER, kind, stays: true })
  const granter = await machine.connect({ domid: GRANTER })
  const mapper = await machine.connect({ domid: MAPPER })
  return {
    granter: granter.platform,
    mapper: mapper.platform,
    end: async () => {
      for (const xen of [mapper, granter]) xen.close()
      await machine.close()
    },
  }
}

function mmap(device: Device, offset: number, prot: number): Address {
  const address = device.mmap({ offset, length: PAGE_SIZE, prot, flags: MAP_SHARED })
  expect(address).toBeGreaterThan(0)
  return address
}

/** A page that the process has granted to the mapper, its mapping, and its ref. */
function grant(process: Platform, prot: number): { address: Address; ref: number } {
  const device = process.open('gntalloc', { access: 'readwrite', nonblock: true }) as Device
  const request = encodeAllocGref({ domid: MAPPER, flags: 1, count: 1 })
  expect(device.ioctl(GNTALLOC_ALLOC_GREF, request)).toBe(0)
  const { index, refs } = decodeAllocGrefReply(request, 1)
  return { address: mmap(device, index, prot), ref: refs[0]! }
}

function map(process: Platform, ref: number, prot: number): Address {
  const device = process.open('gntdev', { access: 'readwrite', nonblock: true }) as Device
  const request = encodeMapGrantRef([{ domid: GRANTER, ref }])
  expect(device.ioctl(GNTDEV_MAP_GRANT_REF, request)).toBe(0)
  return mmap(device, decodeMapGrantRefIndex(request), prot)
}

function expectNoView(process: Platform, address: Address): void {
  const words = `1 bytes at 0x${address.toString(16)} have no access: PROT_NONE`
  expect(() => process.memory.view(address, 1)).toThrow(new RangeError(words))
}

describe.each([
  ['world', 'pv'],
  ['world', 'hvm'],
  ['host', 'pv'],
  ['host', 'hvm'],
] as const)('on a %s, %s', (platform, kind) => {
  test('memory without access is refused as bytes, and what is written alone is not', async () => {
    const { granter, mapper, end } = await pairOn(platform, kind)
    const own = granter.memory.alloc(PAGE_SIZE)
    const { address: granted, ref } = grant(granter, READ_WRITE)
    granter.memory.view(granted, PAGE_SIZE)[0] = 7
    for (const address of [own, granted]) {
      const { memory } = granter
      expect(memory.view(address, 1)).toHaveLength(1)
      expect(memory.protect(address, PAGE_SIZE, PROT_NONE)).toBe(0)
      expectNoView(granter, address)
      expect(memory.protect(address, PAGE_SIZE, PROT_WRITE)).toBe(0)
      expect(memory.view(address, 1)[0]).toBe(address === granted ? 7 : 0)
    }
    expectNoView(granter, grant(granter, PROT_NONE).address)
    expectNoView(mapper, map(mapper, ref, PROT_NONE))
    const writable = map(mapper, ref, PROT_WRITE)
    expect(mapper.memory.view(writable, 1)[0]).toBe(7)
    expect(mapper.memory.protect(writable, PAGE_SIZE, PROT_NONE)).toBe(0)
    expectNoView(mapper, writable)
    await end()
  })
})
