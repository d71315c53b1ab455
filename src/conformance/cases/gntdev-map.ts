/** Section 7.6: MAP_GRANT_REF, which only finds a place among the indexes of a descriptor. */

import assert from 'node:assert/strict'
import { viewOf } from '../../abi/bytes.ts'
import { encodeMapGrantRef, GNTDEV_MAP_GRANT_REF, MAP_GRANT_REF_SIZE } from '../../abi/gntdev.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import type { Address } from '../../platform.ts'
import { type ConformanceCase, defineCase } from '../case.ts'
import { NO_SUCH_DOMAIN } from '../nonsense.ts'
import type { Region } from '../region.ts'
import { ok, refused } from '../verdict.ts'

/** The default of the module parameter: pages per call. */
const DEFAULT_LIMIT = 65536

/** Stores the header and one element of a MAP of `count` grants, of which the rest is missing. */
const storeHeader = async (memory: Region, at: number, count: number): Promise<Address> => {
  const argument = encodeMapGrantRef([{ domid: 0, ref: 8 }])
  viewOf(argument).setUint32(0, count, true)
  await memory.storeBytes(at, argument)
  return memory.address + at
}

export const gntdevMap: readonly ConformanceCase[] = [
  defineCase(89, 'the first map of a descriptor has index 0', async t => {
    assert.equal(await (await t.gntdev()).mapAnything(), 0)
  }),

  defineCase(90, 'each map lies behind the ones before', async t => {
    const d = await t.gntdev()
    await d.mapAnything()
    assert.equal(await d.mapAnything(3), PAGE_SIZE)
    assert.equal(await d.mapAnything(), 4 * PAGE_SIZE)
  }),

  defineCase(91, 'a map of no grants is EINVAL', async t => {
    await refused('EINVAL', (await t.gntdev()).map([]))
  }),

  defineCase(92, 'a map of more grants than the limit is EINVAL', async t => {
    const d = await t.gntdev()
    assert.equal(await t.limit('gntdev.limit'), DEFAULT_LIMIT)
    const address = await storeHeader(await t.memory(), 0, DEFAULT_LIMIT + 1)
    await refused('EINVAL', d.ioctlAt(GNTDEV_MAP_GRANT_REF, address))
    await t.setLimit('gntdev.limit', 8)
    await refused('EINVAL', d.map(Array.from({ length: 9 }, () => ({ domid: 0, ref: 8 }))))
    // It is a limit of each call: two full ones are fine.
    await d.mapAnything(8)
    await d.mapAnything(8)
  }),

  defineCase(93, 'MAP_GRANT_REF believes any domain and any ref', async t => {
    const d = await t.gntdev()
    await ok(d.map([{ domid: NO_SUCH_DOMAIN, ref: 0xffffffff }]))
    await ok(d.map([{ domid: 0xffffffff, ref: 0 }]))
  }),

  defineCase(94, 'elements that cannot be read are EFAULT and take no index', async t => {
    const d = await t.gntdev()
    const memory = await t.memoryWithGap()
    const address = await storeHeader(memory, PAGE_SIZE - MAP_GRANT_REF_SIZE, 1000)
    await refused('EFAULT', d.ioctlAt(GNTDEV_MAP_GRANT_REF, address))
    assert.equal(await d.mapAnything(), 0)
  }),

  defineCase(95, 'a hole that fits exactly is not used again', async t => {
    const d = await t.gntdev()
    await d.mapAnything()
    await d.mapAnything()
    await ok(d.unmap(0))
    assert.equal(await d.mapAnything(), 2 * PAGE_SIZE)
  }),

  defineCase(96, 'a hole with a page to spare is used again', async t => {
    const d = await t.gntdev()
    await d.mapAnything(2)
    assert.equal(await d.mapAnything(), 2 * PAGE_SIZE)
    await ok(d.unmap(0, 2))
    assert.equal(await d.mapAnything(), 0)
  }),

  defineCase(97, 'a map of as many pages as the hole goes behind everything', async t => {
    const d = await t.gntdev()
    await d.mapAnything(2)
    await d.mapAnything()
    await ok(d.unmap(0, 2))
    assert.equal(await d.mapAnything(2), 3 * PAGE_SIZE)
  }),

  defineCase(98, 'an empty descriptor starts at index 0 again', async t => {
    const d = await t.gntdev()
    const first = await d.mapAnything(2)
    const second = await d.mapAnything()
    const third = await d.mapAnything(3)
    await ok(d.unmap(second))
    await ok(d.unmap(third, 3))
    await ok(d.unmap(first, 2))
    assert.equal(await d.mapAnything(), 0)
  }),

  defineCase(99, 'each gntdev descriptor has indexes of its own', async t => {
    assert.equal(await (await t.gntdev()).mapAnything(), 0)
    assert.equal(await (await t.gntdev()).mapAnything(), 0)
  }),
]
