/** Section 7.3: mmap of gntalloc. */
import assert from 'node:assert/strict'
import { MAP_PRIVATE, PROT_READ } from '../../abi/mman.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import { PROT_RW } from '../region.ts'
import { resize } from '../system-calls.ts'
import { ok, refused } from '../verdict.ts'

export const gntallocMmap: readonly ConformanceCase[] = [
  defineCase(31, 'a page is mapped at its index', async t => {
    const a = await t.gntalloc()
    await ok(a.mmap((await a.granted()).index))
  }),

  defineCase(32, 'a private mapping is EINVAL, whatever its protection', async t => {
    const a = await t.gntalloc()
    const { index } = await a.granted()
    for (const prot of [PROT_RW, PROT_READ]) {
      await refused('EINVAL', a.mmap(index, 1, { prot, flags: MAP_PRIVATE }))
    }
  }),

  defineCase(33, 'a descriptor opened read-only cannot be mapped: EINVAL', async t => {
    const a = await t.gntalloc({ access: 'read' })
    await refused('EINVAL', a.mmap((await a.granted()).index, 1, { prot: PROT_READ }))
  }),

  defineCase(34, 'a writable mapping of a read-only descriptor is EACCES', async t => {
    const a = await t.gntalloc({ access: 'read' })
    await refused('EACCES', a.mmap((await a.granted()).index))
  }),

  defineCase(35, 'an index where no page is is ENOENT', async t => {
    const a = await t.gntalloc()
    const { index } = await a.granted()
    await refused('ENOENT', a.mmap(index + PAGE_SIZE))
  }),

  defineCase(36, 'a mapping longer than the pages is ENOENT', async t => {
    const a = await t.gntalloc()
    await refused('ENOENT', a.mmap((await a.granted()).index, 2))
  }),

  defineCase(37, 'pages in the middle of an allocation can be mapped', async t => {
    const a = await t.gntalloc()
    const { region } = await a.share({ count: 4 })
    const middle = await a.region(PAGE_SIZE, 2)
    await middle.store(0, 1)
    await middle.store(2 * PAGE_SIZE - 1, 2)
    assert.equal(await region.byte(PAGE_SIZE), 1)
    assert.equal(await region.byte(3 * PAGE_SIZE - 1), 2)
  }),

  defineCase(38, 'a page can be mapped twice and is the same memory', async t => {
    const a = await t.gntalloc()
    const { index, region } = await a.share()
    const again = await a.region(index)
    assert.notEqual(again.address, region.address)
    await region.store(7, 7)
    assert.equal(await again.byte(7), 7)
  }),

  defineCase(39, 'an offset that is no page boundary is EINVAL', async t => {
    const a = await t.gntalloc()
    const { index } = await a.granted()
    await refused('EINVAL', a.mmap(index + 100))
  }),

  defineCase(40, 'a length of 1 maps one page', async t => {
    const a = await t.gntalloc()
    const { index } = await a.granted()
    const region = await a.region(index, 1, { length: 1 })
    await region.store(PAGE_SIZE - 1, 9)
    assert.equal(await (await a.region(index)).byte(PAGE_SIZE - 1), 9)
  }),

  defineCase(41, 'an index belongs to its descriptor', async t => {
    const x = await t.gntalloc()
    const y = await t.gntalloc()
    await refused('ENOENT', y.mmap((await x.granted()).index))
  }),

  defineCase(42, 'a deallocated page cannot be mapped', async t => {
    const a = await t.gntalloc()
    const { index } = await a.granted()
    await ok(a.dealloc(index))
    await refused('ENOENT', a.mmap(index))
  }),

  defineCaseFor('remap', 43, 'a mapping cannot grow by mremap: EFAULT', async t => {
    const { region } = await (await t.gntalloc({ on: await t.able() })).share()
    await refused('EFAULT', resize(region, 2))
  }),

  defineCaseFor(
    'fork',
    44,
    'a forked child writes the same page, where it inherits mappings',
    async t => {
      const on = await t.able()
      const { region } = await (await t.gntalloc({ on })).share()
      const theirs = region.in(await on.fork())
      const { inheritsMappings } = t.profile
      assert.equal(await theirs.tryStore(3, 7), inheritsMappings ? 'stored' : 'SIGSEGV')
      assert.equal(await region.byte(3), inheritsMappings ? 7 : 0)
    },
  ),

  defineCase(45, 'a mapping outlives its descriptor', async t => {
    const a = await t.gntalloc()
    const { region } = await a.share()
    await a.close()
    await region.store(0, 3)
    assert.equal(await region.byte(0), 3)
  }),
]
