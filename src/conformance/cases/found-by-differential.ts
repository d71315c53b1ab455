/** What differential runs have found: a simulator and real Xen, or two simulators, went apart. */
import assert from 'node:assert/strict'
import { GNTALLOC_DEALLOC_GREF } from '../../abi/gntalloc.ts'
import { PROT_NONE } from '../../abi/mman.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import { ok, refused } from '../verdict.ts'

export const foundByDifferential: readonly ConformanceCase[] = [
  // A PV driver has its page table entries made by Xen, which knows readable and writable only.
  defineCaseFor(
    ['pv', 'fault'],
    330,
    'a gntdev page mapped with PROT_NONE can be read in PV',
    async t => {
      const { grants, region: owner } = await (await t.gntalloc()).share()
      const { region } = await (await t.gntdev({ on: await t.able() })).mapped(grants, {
        prot: PROT_NONE,
      })
      await owner.store(0, 5)
      assert.equal(await region.load(0), 5)
      assert.equal(await region.tryStore(0, 6), 'SIGSEGV')
    },
  ),
  defineCase(331, 'a mapping that the driver refuses has unmapped what lay there', async t => {
    const [a, d] = [await t.gntalloc(), await t.gntdev()]
    const { index, region } = await a.share()
    const bell = await t.channel()
    await ok(a.setNotify(index, 2, bell.port))
    await ok(a.dealloc(index))
    // Whether the kernel can read what lies there: zeroes, which are no pages.
    const asArgument = () => a.ioctlAt(GNTALLOC_DEALLOC_GREF, region.address)
    // The core of the kernel refuses before it touches anything.
    await refused('EINVAL', d.mmap(100, 1, { at: region.address }))
    await bell.expectSilence()
    await refused('EINVAL', asArgument())
    await refused('EINVAL', d.mmap(0, 1, { at: region.address }))
    await bell.expectOnce()
    await refused('EFAULT', asArgument())
  }),
  defineCaseFor(
    'destructive',
    332,
    'a byte armed in a page that cannot be mapped, beside one that can, is stored to all the same',
  ),
  defineCase(
    333,
    'a mapping that the kernel refuses before the driver leaves what lies behind a hole',
    async t => {
      const [a, d] = [await t.gntalloc(), await t.gntdev()]
      const { region } = await a.share({ count: 2 })
      const kept = region.part(1, 1)
      await kept.store(0, 7)
      await ok(region.part(0, 1).munmap())
      await refused('EINVAL', d.mmap(100, 2, { at: region.address }))
      assert.equal(await kept.byte(0), 7)
    },
  ),
]
