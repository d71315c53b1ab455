/** Section 7.4: DEALLOC_GREF, and how long a page and its grant live. */
import assert from 'node:assert/strict'
import { PAGE_SIZE } from '../../abi/page.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import { ok, refused } from '../verdict.ts'

/** Small, so that a case can fill the quota in one cheap call. */
const SMALL_LIMIT = 8

export const gntallocLifetime: readonly ConformanceCase[] = [
  defineCase(46, 'DEALLOC of a page succeeds', async t => {
    const a = await t.gntalloc()
    await ok(a.dealloc((await a.granted()).index))
  }),

  defineCase(47, 'a page can be deallocated once', async t => {
    const a = await t.gntalloc()
    const { index } = await a.granted()
    await ok(a.dealloc(index))
    await refused('EINVAL', a.dealloc(index))
  }),

  defineCase(48, 'DEALLOC of no pages is EINVAL', async t => {
    const a = await t.gntalloc()
    await refused('EINVAL', a.dealloc((await a.granted()).index, 0))
  }),

  defineCase(49, 'DEALLOC wants the index of the page itself', async t => {
    const a = await t.gntalloc()
    await refused('EINVAL', a.dealloc((await a.granted()).index + 1))
  }),

  defineCase(50, 'DEALLOC across a hole is EINVAL and releases nothing', async t => {
    const a = await t.gntalloc()
    const { index } = await a.granted({ count: 4 })
    await ok(a.dealloc(index + PAGE_SIZE))
    await refused('EINVAL', a.dealloc(index, 4))
    for (const page of [0, 2, 3]) await ok(a.mmap(index + page * PAGE_SIZE))
  }),

  defineCase(51, 'pages in the middle of an allocation can be deallocated', async t => {
    const a = await t.gntalloc()
    const { index } = await a.granted({ count: 4 })
    await ok(a.dealloc(index + PAGE_SIZE, 2))
    await ok(a.mmap(index))
    await refused('ENOENT', a.mmap(index + PAGE_SIZE))
    await ok(a.mmap(index + 3 * PAGE_SIZE))
  }),

  defineCase(52, 'one DEALLOC may span two allocations', async t => {
    const a = await t.gntalloc()
    await a.granted()
    await a.granted()
    await ok(a.dealloc(0, 2))
  }),

  defineCase(53, 'a page is deallocated through its own descriptor', async t => {
    const x = await t.gntalloc()
    const { index } = await x.granted()
    await refused('EINVAL', (await t.gntalloc()).dealloc(index))
    await ok(x.dealloc(index))
  }),

  defineCase(54, 'a mapping outlives DEALLOC', async t => {
    const a = await t.gntalloc()
    const { index, region } = await a.share()
    await region.store(3, 33)
    await ok(a.dealloc(index))
    assert.equal(await region.byte(3), 33)
    await region.store(4, 44)
    assert.equal(await region.byte(4), 44)
  }),

  defineCase(55, 'a deallocated page counts until it is unmapped', async t => {
    await t.setLimit('gntalloc.limit', SMALL_LIMIT)
    const a = await t.gntalloc()
    const { index, region } = await a.share()
    await a.granted({ count: SMALL_LIMIT - 1 })
    await ok(a.dealloc(index))
    await refused('ENOSPC', a.alloc())
    await ok(region.munmap())
    await ok(a.alloc())
  }),

  defineCase(56, 'the grant of a deallocated page holds while it is mapped here', async t => {
    const a = await t.gntalloc()
    const { index, grants, region } = await a.share()
    await ok(a.dealloc(index))
    const { region: theirs } = await (await t.peerGntdev()).mapped(grants)
    await region.store(8, 88)
    assert.equal(await theirs.byte(8), 88)
  }),

  defineCase(57, 'pages of one mmap are released together', async t => {
    const a = await t.gntalloc()
    const d = await t.peerGntdev()
    const { index, grants, region } = await a.share({ count: 2 })
    await ok(a.dealloc(index, 2))
    await ok(region.part(0, 1).munmap())
    const first = grants.slice(0, 1)
    await ok(d.probe(first))
    await ok(region.part(1, 1).munmap())
    await refused('EINVAL', d.probe(first))
  }),

  defineCase(403, 'munmap of two deallocated pages frees both, or the first alone', async t => {
    await t.setLimit('gntalloc.limit', SMALL_LIMIT)
    const a = await t.gntalloc()
    const { index, region } = await a.share({ count: 2 })
    await ok(a.dealloc(index, 2))
    await ok(region.munmap())
    await ok(a.alloc({ count: SMALL_LIMIT - 1 }))
    if (t.profile.releasesEveryPage) await ok(a.alloc())
    else await refused('ENOSPC', a.alloc())
  }),

  defineCase(
    58,
    'DEALLOC of a page that the peer maps succeeds, and takes it off the quota or not',
    async t => {
      await t.setLimit('gntalloc.limit', SMALL_LIMIT)
      const a = await t.gntalloc()
      const { index, grants } = await a.granted()
      await a.granted({ count: SMALL_LIMIT - 1 })
      const { region } = await (await t.peerGntdev()).mapped(grants)
      await region.store(0, 5)
      await ok(a.dealloc(index))
      if (t.profile.freesByTimer) await ok(a.alloc())
      else await refused('ENOSPC', a.alloc())
      await region.store(1, 6)
      assert.deepEqual(await region.bytes(0, 2), Uint8Array.of(5, 6))
    },
  ),

  defineCase(59, 'a peer that maps a deallocated page may map it once more', async t => {
    const a = await t.gntalloc()
    const d = await t.peerGntdev()
    const { index, grants } = await a.granted()
    const { region } = await d.mapped(grants)
    await ok(a.dealloc(index))
    const again = await d.mapped(grants)
    await region.store(2, 22)
    assert.equal(await again.region.byte(2), 22)
  }),

  defineCase(60, 'a deallocated grant is gone once the peer let go of it', async t => {
    const a = await t.gntalloc()
    const d = await t.peerGntdev()
    const { index: page, grants } = await a.granted()
    const { index, region } = await d.mapped(grants)
    await ok(a.dealloc(page))
    await ok(region.munmap())
    await ok(d.unmap(index))
    await t.settleDeferred()
    if (!t.profile.freesByTimer) {
      await ok(d.probe(grants))
      // Any call that frees will do, even one that is refused.
      await refused('EINVAL', a.dealloc(page))
    }
    await refused('EINVAL', d.probe(grants))
  }),

  defineCase(61, 'a deallocated page cannot be mapped by the peer', async t => {
    const a = await t.gntalloc()
    const { index, grants } = await a.granted()
    await ok(a.dealloc(index))
    await refused('EINVAL', (await t.peerGntdev()).probe(grants))
  }),

  defineCase(62, 'close deallocates every page', async t => {
    const a = await t.gntalloc()
    const d = await t.peerGntdev()
    const { grants } = await a.granted({ count: 3 })
    await a.close()
    for (const grant of grants) await refused('EINVAL', d.probe([grant]))
  }),

  defineCase(63, 'close deallocates nothing while one page is mapped', async t => {
    const a = await t.gntalloc()
    await a.share()
    const { grants } = await a.granted()
    await a.close()
    await ok((await t.peerGntdev()).probe(grants))
  }),

  defineCase(64, 'the last munmap of a closed descriptor deallocates every page', async t => {
    const a = await t.gntalloc()
    const d = await t.peerGntdev()
    const { region } = await a.share()
    const { grants } = await a.granted()
    await a.close()
    await ok(d.probe(grants))
    await ok(region.munmap())
    await refused('EINVAL', d.probe(grants))
  }),

  defineCase(65, 'a duplicated descriptor keeps the pages when the other is closed', async t => {
    const a = await t.gntalloc()
    const { index } = await a.granted()
    const copy = await a.dup()
    await a.close()
    await ok(copy.dealloc(index))
  }),

  defineCase(66, 'SIGKILL gives every page of a process back', async t => {
    await t.setLimit('gntalloc.limit', SMALL_LIMIT)
    const victim = await t.disposable()
    const theirs = await t.gntalloc({ on: victim })
    await theirs.share()
    await theirs.granted({ count: SMALL_LIMIT - 1 })
    const a = await t.gntalloc()
    await refused('ENOSPC', a.alloc())
    await victim.kill()
    await ok(a.alloc({ count: SMALL_LIMIT }))
  }),

  defineCaseFor('fork', 67, 'a forked child keeps the pages of a parent that exited', async t => {
    const on = await t.able()
    const { grants, region } = await (await t.gntalloc({ on })).share()
    await region.store(3, 7)
    const theirs = region.in(await on.fork())
    await on.exit()
    if (t.profile.inheritsMappings) await theirs.store(3, 8)
    const { region: peer } = await (await t.peerGntdev()).mapped(grants)
    assert.equal(await peer.byte(3), t.profile.inheritsMappings ? 8 : 7)
  }),
]
