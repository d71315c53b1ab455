/** Section 7.9: GET_OFFSET_FOR_VADDR. */
import assert from 'node:assert/strict'
import { PAGE_SIZE } from '../../abi/page.ts'
import type { Address } from '../../platform.ts'
import { type ConformanceCase, defineCase } from '../case.ts'
import type { CaseContext } from '../context.ts'
import type { Gntdev } from '../gntdev.ts'
import type { Region } from '../region.ts'
import { ok, refused } from '../verdict.ts'

const expectAnswer = async (d: Gntdev, vaddr: Address, offset: number, count: number) => {
  const answer = await ok(d.offsetFor(vaddr))
  assert.deepEqual(answer, { result: 0, offset, count })
}

/** A mapping of two pages at index 4096, behind a map of one page. */
const secondMap = async (t: CaseContext, at?: Address): Promise<{ d: Gntdev; region: Region }> => {
  const { grants } = await (await t.peerGntalloc()).granted({ count: 2 })
  const d = await t.gntdev()
  await d.mapAnything()
  const { index, region } = await d.mapped(grants, at === undefined ? {} : { at })
  assert.equal(index, PAGE_SIZE)
  return { d, region }
}

export const gntdevOffset: readonly ConformanceCase[] = [
  defineCase(143, 'the address of a mapping answers its index and count', async t => {
    const { d, region } = await secondMap(t)
    await expectAnswer(d, region.address, PAGE_SIZE, 2)
  }),

  defineCase(144, 'any address in a mapping answers the same', async t => {
    const { d, region } = await secondMap(t)
    await expectAnswer(d, region.address + 5000, PAGE_SIZE, 2)
    await expectAnswer(d, region.address + 2 * PAGE_SIZE - 1, PAGE_SIZE, 2)
  }),

  defineCase(145, 'the address of plain memory is EINVAL', async t => {
    await refused('EINVAL', (await t.gntdev()).offsetFor((await t.memory()).address))
  }),

  defineCase(146, 'an address in the gap below a mapping answers for the mapping', async t => {
    const memory = await t.memory(4)
    const gap = memory.part(1, 1)
    const { d } = await secondMap(t, gap.address + PAGE_SIZE)
    await refused('EINVAL', d.offsetFor(gap.address))
    await ok(gap.munmap())
    await expectAnswer(d, gap.address, PAGE_SIZE, 2)
    await expectAnswer(d, gap.address + PAGE_SIZE - 1, PAGE_SIZE, 2)
  }),

  defineCase(147, 'a mapping knows its index after UNMAP', async t => {
    const { d, region } = await secondMap(t)
    await ok(d.unmap(PAGE_SIZE, 2))
    await expectAnswer(d, region.address, PAGE_SIZE, 2)
  }),

  defineCase(148, 'a mapping is found through any gntdev descriptor', async t => {
    const { region } = await secondMap(t)
    await expectAnswer(await t.gntdev(), region.address, PAGE_SIZE, 2)
  }),

  defineCase(149, 'the address of a mapping that is gone is EINVAL', async t => {
    // Plain memory behind it, so that the next mapping above is none of another gntdev.
    const memory = await t.memory(4)
    const { d, region } = await secondMap(t, memory.address + PAGE_SIZE)
    await expectAnswer(d, region.address, PAGE_SIZE, 2)
    await ok(region.munmap())
    await refused('EINVAL', d.offsetFor(region.address))
  }),

  defineCase(150, 'the address of a page of our own is EINVAL', async t => {
    const { region } = await (await t.gntalloc()).share()
    await refused('EINVAL', (await t.gntdev()).offsetFor(region.address))
  }),
]
