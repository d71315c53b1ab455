/** Section 7.6: MAP_GRANT_REF, which only finds a place among the indexes of a descriptor. */

import assert from 'node:assert/strict'
import { viewOf } from '../../abi/bytes.ts'
import {
  encodeMapGrantRef,
  GNTDEV_MAP_GRANT_REF,
  type GrantName,
  MAP_GRANT_REF_SIZE,
} from '../../abi/gntdev.ts'
import { PROT_READ } from '../../abi/mman.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import type { Address } from '../../platform.ts'
import { type ConformanceCase, defineCase } from '../case.ts'
import { NO_SUCH_DOMAIN } from '../nonsense.ts'
import type { Region } from '../region.ts'
import { ok, refused } from '../verdict.ts'

/** A limit that a case can reach. */
const SMALL_LIMIT = 8

/** Stores the header and one element of a MAP of `count` grants, of which the rest is missing. */
const storeHeader = async (memory: Region, at: number, count: number): Promise<Address> => {
  const argument = encodeMapGrantRef([{ domid: 0, ref: 8 }])
  viewOf(argument).setUint32(0, count, true)
  await memory.storeBytes(at, argument)
  return memory.address + at
}

const anyGrants = (count: number): GrantName[] =>
  Array.from({ length: count }, () => ({ domid: 0, ref: 8 }))

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

  defineCase(92, 'a map beyond the limit is EINVAL, or ENOMEM where all maps count', async t => {
    const d = await t.gntdev()
    const { limitsEachMap, gntdevLimit } = t.profile
    const errno = limitsEachMap ? 'EINVAL' : 'ENOMEM'
    assert.equal(await t.limit('gntdev.limit'), gntdevLimit)
    const address = await storeHeader(await t.memory(), 0, gntdevLimit + 1)
    await refused(errno, d.ioctlAt(GNTDEV_MAP_GRANT_REF, address))
    await t.setLimit('gntdev.limit', SMALL_LIMIT)
    await refused(errno, d.map(anyGrants(SMALL_LIMIT + 1)))
    const index = await d.mapAnything(SMALL_LIMIT)
    const another = (await t.gntdev()).map(anyGrants(SMALL_LIMIT))
    if (limitsEachMap) await ok(another)
    else await refused('ENOMEM', another)
    await ok(d.unmap(index, SMALL_LIMIT))
    await ok((await t.gntdev()).map(anyGrants(SMALL_LIMIT)))
  }),

  defineCase(93, 'MAP_GRANT_REF believes any domain and any ref', async t => {
    const d = await t.gntdev()
    await ok(d.map([{ domid: NO_SUCH_DOMAIN, ref: 0xffffffff }]))
    await ok(d.map([{ domid: 0xffffffff, ref: 0 }]))
  }),

  defineCase(94, 'elements that cannot be read are refused and take no index', async t => {
    const d = await t.gntdev()
    const memory = await t.memoryWithGap()
    const address = await storeHeader(memory, PAGE_SIZE - MAP_GRANT_REF_SIZE, 1000)
    await refused(t.profile.badElements, d.ioctlAt(GNTDEV_MAP_GRANT_REF, address))
    assert.equal(await d.mapAnything(), 0)
  }),

  defineCase(400, 'a map whose index cannot be stored is taken back, or left behind', async t => {
    const d = await t.gntdev()
    const memory = await t.memory()
    const address = await storeHeader(memory, 0, 1)
    await ok(memory.protect(PROT_READ))
    await refused('EFAULT', d.ioctlAt(GNTDEV_MAP_GRANT_REF, address))
    const { withdrawsUnreadMaps } = t.profile
    assert.equal(await d.mapAnything(), withdrawsUnreadMaps ? 0 : PAGE_SIZE)
  }),

  defineCase(401, 'pages that are mapped count as long as that, where all maps count', async t => {
    const { grants } = await (await t.peerGntalloc()).granted({ count: 2 })
    await t.setLimit('gntdev.limit', SMALL_LIMIT)
    const d = await t.gntdev()
    const { index, region } = await d.mapped(grants)
    await ok(d.unmap(index, 2))
    const another = d.map(anyGrants(SMALL_LIMIT))
    if (t.profile.limitsEachMap) await ok(another)
    else await refused('ENOMEM', another)
    await ok(region.munmap())
    await ok((await t.gntdev()).map(anyGrants(SMALL_LIMIT)))
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
