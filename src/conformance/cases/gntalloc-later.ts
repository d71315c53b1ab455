/** Section 7.13: what running the cases taught about gntalloc. */
import assert from 'node:assert/strict'
import {
  UNMAP_NOTIFY_CLEAR_BYTE as CLEAR_BYTE,
  UNMAP_NOTIFY_SEND_EVENT as SEND_EVENT,
} from '../../abi/gntalloc.ts'
import {
  MADV_DOFORK,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MAP_POPULATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../abi/mman.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { expectBuffer } from '../buffers.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import type { CaseContext } from '../context.ts'
import { PROT_RW } from '../region.ts'
import { futexWait, madvise, move, resize } from '../system-calls.ts'
import { ok, refused } from '../verdict.ts'

const SMALL_LIMIT = 8

/** Asserts that freed refs came back, the last first, or none where they are lost. */
function expectReturned(t: CaseContext, freed: readonly number[], now: readonly number[]): void {
  if (t.profile.returnsRefs) assert.deepEqual(now, freed.toReversed())
  else assert.equal(new Set([...freed, ...now]).size, freed.length + now.length)
}

const refs: readonly ConformanceCase[] = [
  defineCase(226, 'refs deallocated one by one come back last first', async t => {
    const a = await t.gntalloc()
    const { index, refs } = await a.granted({ count: 3 })
    for (let i = 0; i < 3; i++) await ok(a.dealloc(index + i * PAGE_SIZE))
    expectReturned(t, refs, (await a.granted({ count: 3 })).refs)
  }),

  defineCase(227, 'refs deallocated together come back last first', async t => {
    const a = await t.gntalloc()
    const { index, refs } = await a.granted({ count: 3 })
    await ok(a.dealloc(index, 3))
    expectReturned(t, refs, (await a.granted({ count: 3 })).refs)
  }),

  defineCase(228, 'refs of a closed descriptor come back last first', async t => {
    const a = await t.gntalloc()
    const { refs } = await a.granted({ count: 3 })
    await a.close()
    expectReturned(t, refs, (await (await t.gntalloc()).granted({ count: 3 })).refs)
  }),

  defineCase(277, 'the whole quota is free again after a close', async t => {
    await t.setLimit('gntalloc.limit', SMALL_LIMIT)
    const a = await t.gntalloc()
    await a.granted({ count: SMALL_LIMIT })
    await a.close()
    await (await t.gntalloc()).granted({ count: SMALL_LIMIT })
  }),

  defineCaseFor('destructive', 324, 'an ALLOC that runs out of grant entries drifts the quota'),
]

const mappings: readonly ConformanceCase[] = [
  defineCase(236, 'memory put over a deallocated page releases it as munmap does', async t => {
    const bell = await t.channel()
    const a = await t.gntalloc()
    const { index, grants, region } = await a.share()
    const { region: peer } = await (await t.peerGntdev()).mapped(grants)
    await peer.store(5, 7, 8)
    await ok(a.setNotify(index + 5, CLEAR_BYTE | SEND_EVENT, bell.port))
    await ok(a.dealloc(index))
    await bell.expectSilence()
    await ok(region.replace())
    await bell.expectOnce()
    assert.deepEqual(await peer.bytes(5, 2), Uint8Array.of(0, 8))
    assert.deepEqual(await region.bytes(0, PAGE_SIZE), new Uint8Array(PAGE_SIZE))
    await region.store(5, 9)
    assert.equal(await peer.byte(5), 0)
  }),

  defineCase(239, 'pages of one mapping are released when its last piece goes', async t => {
    const bell = await t.channel()
    const a = await t.gntalloc()
    const { index, grants, region } = await a.share({ count: 2 })
    const { region: peer } = await (await t.peerGntdev()).mapped(grants)
    await peer.store(5, 7)
    await ok(a.setNotify(index + 5, CLEAR_BYTE | SEND_EVENT, bell.port))
    await ok(a.dealloc(index, 2))
    await ok(region.part(0, 1).replace())
    await bell.expectSilence()
    assert.equal(await peer.byte(5), 7)
    await region.store(PAGE_SIZE, 3)
    assert.equal(await peer.byte(PAGE_SIZE), 3)
    await ok(region.part(1, 1).munmap())
    await bell.expectOnce()
    assert.equal(await peer.byte(5), 0)
  }),

  defineCaseFor('fault', 244, 'mprotect of a granted page does what it says', async t => {
    const { region } = await (await t.gntalloc({ on: await t.able() })).share()
    assert.equal(await region.protect(PROT_READ), 0)
    assert.equal(await region.tryStore(0, 1), 'SIGSEGV')
    assert.equal(await region.protect(PROT_RW), 0)
    assert.equal(await region.tryStore(0, 1), 'stored')
    assert.equal(await region.protect(PROT_NONE), 0)
    assert.equal(await region.load(0), 'SIGSEGV')
  }),

  defineCaseFor('remap', 245, 'a granted page goes on at the address it was moved to', async t => {
    const on = await t.able()
    const a = await t.gntalloc({ on })
    const { index, grants, region } = await a.share()
    const { region: peer } = await (await t.peerGntdev()).mapped(grants)
    await region.store(0, 1)
    const moved = await move(region, await t.memory(1, on))
    assert.equal(await moved.byte(0), 1)
    assert.equal(await region.load(0), 'SIGSEGV')
    await moved.store(1, 2)
    await peer.store(2, 3)
    assert.deepEqual(await peer.bytes(0, 3), Uint8Array.of(1, 2, 3))
    assert.deepEqual(await moved.bytes(0, 3), Uint8Array.of(1, 2, 3))
    assert.equal(await a.dealloc(index), 0)
  }),

  defineCaseFor('remap', 246, 'a shrunk mapping still holds all of its pages', async t => {
    await t.setLimit('gntalloc.limit', 2)
    const a = await t.gntalloc({ on: await t.able() })
    const { index, region } = await a.share({ count: 2 })
    await ok(a.dealloc(index, 2))
    assert.equal(await resize(region, 1), region.address)
    await refused('ENOSPC', a.alloc())
    await ok(region.part(0, 1).munmap())
    await ok(a.alloc({ count: t.profile.releasesEveryPage ? 2 : 1 }))
  }),

  defineCaseFor('remap', 247, 'a granted page is lost to its owner by MADV_DONTNEED', async t => {
    const { grants, region } = await (await t.gntalloc({ on: await t.able() })).share()
    await region.store(0, 7)
    const { mapsBareFrames } = t.profile
    if (mapsBareFrames) await refused('EINVAL', madvise(region, MADV_DONTNEED))
    else assert.equal(await madvise(region, MADV_DONTNEED), 0)
    assert.equal(await region.load(0), mapsBareFrames ? 7 : 'SIGBUS')
    const { region: peer } = await (await t.peerGntdev()).mapped(grants)
    assert.equal(await peer.byte(0), 7)
  }),

  defineCaseFor('fork', 248, 'MADV_DONTFORK keeps a granted page from a child', async t => {
    const on = await t.able()
    const { region } = await (await t.gntalloc({ on })).share()
    await region.store(0, 7)
    assert.equal(await madvise(region, MADV_DONTFORK), 0)
    assert.equal(await region.in(await on.fork()).load(0), 'SIGSEGV')
    assert.equal(await madvise(region, MADV_DOFORK), 0)
    assert.equal(await region.in(await on.fork()).load(0), 7)
  }),

  defineCaseFor('destructive', 249, 'one mapping may span two allocations'),

  defineCase(253, 'a descriptor opened for writing alone cannot be mapped: EACCES', async t => {
    const a = await t.gntalloc({ access: 'write' })
    const { index } = await a.granted()
    await refused('EACCES', a.mmap(index))
    await refused('EACCES', a.mmap(index, 1, { prot: PROT_WRITE }))
    const d = await t.gntdev({ access: 'write' })
    await refused('EACCES', d.mmap(await d.mapAnything(), 1, { prot: PROT_WRITE }))
  }),

  defineCaseFor('remap', 266, 'only a private futex works on a granted page', async t => {
    const { region } = await (await t.gntalloc({ on: await t.able() })).share()
    await refused('EFAULT', futexWait(region, 'shared'))
    await refused('ETIMEDOUT', futexWait(region, 'private'))
  }),

  defineCaseFor('remap', 268, 'a granted page is a buffer as any, except for msync', async t => {
    const { region } = await (await t.gntalloc({ on: await t.able() })).share({ count: 2 })
    await expectBuffer(t, region.part(0, 1), region.part(1, 1))
  }),

  defineCase(284, 'a page can be mapped again, populated and without access', async t => {
    const a = await t.gntalloc()
    const { index, region } = await a.share()
    await ok(region.munmap())
    await ok(a.mmap(index, 1, { flags: MAP_SHARED | MAP_POPULATE }))
    await ok(a.mmap(index, 1, { prot: PROT_NONE }))
  }),
]

export const gntallocLater: readonly ConformanceCase[] = [...refs, ...mappings]
