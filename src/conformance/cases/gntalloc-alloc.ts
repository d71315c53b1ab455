/** Section 7.2: ALLOC_GREF. */
import assert from 'node:assert/strict'
import { DOMID_SELF } from '../../abi/domid.ts'
import {
  ALLOC_GREF_SIZE,
  encodeAllocGref,
  GNTALLOC_ALLOC_GREF,
  GNTALLOC_FLAG_WRITABLE,
} from '../../abi/gntalloc.ts'
import { RESERVED_REFS } from '../../abi/grant-table.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { type ConformanceCase, defineCase } from '../case.ts'
import { NO_SUCH_DOMAIN } from '../nonsense.ts'
import { ok, refused } from '../verdict.ts'

/** Small, so that a case can fill the quota in one cheap call. */
const SMALL_LIMIT = 8

export const gntallocAlloc: readonly ConformanceCase[] = [
  defineCase(
    13,
    'the first page of a descriptor has index 0 and a ref behind the reserved',
    async t => {
      const { index, ref } = await (await t.gntalloc()).granted()
      assert.equal(index, 0)
      assert.ok(ref >= RESERVED_REFS, `ref ${ref}`)
    },
  ),

  defineCase(14, 'indexes rise by the pages of each ALLOC', async t => {
    const a = await t.gntalloc()
    await a.granted()
    assert.equal((await a.granted({ count: 3 })).index, PAGE_SIZE)
    assert.equal((await a.granted()).index, 4 * PAGE_SIZE)
  }),

  defineCase(15, 'each descriptor counts its own indexes, and refs are of the domain', async t => {
    const x = await (await t.gntalloc()).granted()
    const y = await (await t.gntalloc()).granted()
    assert.deepEqual([x.index, y.index], [0, 0])
    assert.notEqual(x.ref, y.ref)
  }),

  defineCase(16, 'the index of a deallocated page is never used again', async t => {
    const a = await t.gntalloc()
    await ok(a.dealloc((await a.granted()).index))
    assert.equal((await a.granted()).index, PAGE_SIZE)
  }),

  defineCase(17, 'ALLOC of no pages succeeds and moves nothing', async t => {
    const a = await t.gntalloc()
    await a.granted()
    assert.equal((await a.granted({ count: 0 })).index, PAGE_SIZE)
    assert.equal((await a.granted()).index, PAGE_SIZE)
  }),

  defineCase(18, 'ALLOC of more than the limit is ENOSPC and moves nothing', async t => {
    await t.setLimit('gntalloc.limit', SMALL_LIMIT)
    const a = await t.gntalloc()
    await refused('ENOSPC', a.alloc({ count: SMALL_LIMIT + 1 }))
    assert.equal((await a.granted()).index, 0)
  }),

  defineCase(19, 'the limit counts the pages of all descriptors', async t => {
    await t.setLimit('gntalloc.limit', SMALL_LIMIT)
    await (await t.gntalloc()).granted({ count: SMALL_LIMIT })
    await refused('ENOSPC', (await t.gntalloc()).alloc())
  }),

  defineCase(20, 'DEALLOC of one page makes room for one', async t => {
    await t.setLimit('gntalloc.limit', SMALL_LIMIT)
    const a = await t.gntalloc()
    const { index } = await a.granted({ count: SMALL_LIMIT })
    const other = await t.gntalloc()
    await refused('ENOSPC', other.alloc())
    await ok(a.dealloc(index))
    await ok(other.alloc())
  }),

  defineCase(21, 'flags other than WRITABLE are ignored', async t => {
    const a = await t.gntalloc()
    const { grants } = await a.granted({ flags: 0xffff & ~GNTALLOC_FLAG_WRITABLE })
    // Only the grant's being read-only can make a read-write map of it fail.
    await refused('EINVAL', (await t.peerGntdev()).tryMap(grants))
  }),

  defineCase(22, 'a grant may name a domain that does not exist', async t => {
    await ok((await t.gntalloc()).alloc({ domid: NO_SUCH_DOMAIN }))
  }),

  defineCase(23, 'nobody can map a grant made to DOMID_SELF', async t => {
    const { grants } = await (await t.gntalloc()).granted({ domid: DOMID_SELF })
    await refused('EINVAL', (await t.peerGntdev()).tryMap(grants))
  }),

  defineCase(24, 'a new page is all zeroes', async t => {
    const { region } = await (await t.gntalloc()).share()
    assert.deepEqual(await region.bytes(0, PAGE_SIZE), new Uint8Array(PAGE_SIZE))
  }),

  defineCase(25, 'the refs of one ALLOC are distinct', async t => {
    const { refs } = await (await t.gntalloc()).granted({ count: 16 })
    assert.equal(new Set(refs).size, 16)
  }),

  defineCase(
    26,
    'ALLOC of 2^32 - 1 pages is ENOSPC, or ENOMEM where the limit is looked at late',
    async t => {
      const a = await t.gntalloc()
      // The driver never looks at the array, so the fixed part does, its count set by hand.
      const argument = encodeAllocGref({ domid: t.domid, flags: 0, count: 0 }).fill(0xff, 4, 8)
      const memory = await t.memory()
      await memory.storeBytes(0, argument)
      const errno = t.profile.checksCountFirst ? 'ENOSPC' : 'ENOMEM'
      await refused(errno, a.ioctlAt(GNTALLOC_ALLOC_GREF, memory.address))
    },
  ),

  defineCase(27, 'pages whose refs cannot be stored stay allocated', async t => {
    await t.setLimit('gntalloc.limit', 10)
    const a = await t.gntalloc()
    const memory = await t.memoryWithGap()
    const at = PAGE_SIZE - ALLOC_GREF_SIZE
    const argument = encodeAllocGref({ domid: t.domid, flags: 0, count: 8 })
    await memory.storeBytes(at, argument.subarray(0, ALLOC_GREF_SIZE))
    await refused('EFAULT', a.ioctlAt(GNTALLOC_ALLOC_GREF, memory.address + at))
    await refused('ENOSPC', a.alloc({ count: 3 }))
    assert.equal((await a.granted({ count: 2 })).index, 8 * PAGE_SIZE)
  }),

  defineCase(28, 'the fixed part of ALLOC_GREF is 24 bytes, not 20', async t => {
    const a = await t.gntalloc()
    const memory = await t.memoryWithGap()
    const at = PAGE_SIZE - 20
    const argument = encodeAllocGref({ domid: t.domid, flags: 0, count: 1 })
    await memory.storeBytes(at, argument.subarray(0, 20))
    await refused('EFAULT', a.ioctlAt(GNTALLOC_ALLOC_GREF, memory.address + at))
    assert.equal((await a.granted()).index, 0)
  }),

  defineCase(29, 'a limit of 0 allows no page, and allows to ask for none', async t => {
    await t.setLimit('gntalloc.limit', 0)
    const a = await t.gntalloc()
    await refused('ENOSPC', a.alloc())
    await ok(a.alloc({ count: 0 }))
  }),

  defineCase(30, 'the owner may write what the peer may only read', async t => {
    const { region } = await (await t.gntalloc()).share({ flags: 0 })
    await region.store(5, 42)
    assert.equal(await region.byte(5), 42)
  }),
]
