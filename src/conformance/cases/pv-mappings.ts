/**
 * Section 7.13: mappings of gntdev in a PV domain, whose pages are unmapped from the hypervisor
 * whenever they leave the process, whatever the descriptor says. The event waits for both.
 */
import assert from 'node:assert/strict'
import { UNMAP_NOTIFY_CLEAR_BYTE, UNMAP_NOTIFY_SEND_EVENT } from '../../abi/gntalloc.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import type { CaseContext } from '../context.ts'
import type { Channel } from '../evtchn.ts'
import type { Gntdev } from '../gntdev.ts'
import { NO_SUCH_REF } from '../nonsense.ts'
import { PROT_RW, type Region } from '../region.ts'
import { ok, refused } from '../verdict.ts'

interface Armed {
  /** The page where it was granted, to look at. */
  readonly owner: Region
  readonly d: Gntdev
  readonly index: number
  /** The mapping under test. */
  readonly region: Region
  readonly bell: Channel
}

/** Pages of ours, mapped, the byte at `offset` of the map set to 7 and armed, with the event. */
async function armed(t: CaseContext, pages: number, offset: number): Promise<Armed> {
  const bell = await t.channel()
  const { grants, region: owner } = await (await t.gntalloc()).share({ count: pages })
  const d = await t.gntdev()
  const { index, region } = await d.mapped(grants)
  await owner.store(offset, 7)
  const both = UNMAP_NOTIFY_CLEAR_BYTE | UNMAP_NOTIFY_SEND_EVENT
  await ok(d.setNotify(index + offset, both, bell.port))
  return { owner, d, index, region, bell }
}

const replaced: readonly ConformanceCase[] = [
  defineCase(237, 'memory put over a page after UNMAP fires both', async t => {
    const { owner, d, index, region, bell } = await armed(t, 1, 5)
    await ok(d.unmap(index))
    await bell.expectSilence()
    await ok(region.replace())
    await bell.expectOnce()
    assert.equal(await owner.byte(5), 0)
    await region.store(9, 9)
    assert.equal(await owner.byte(9), 0)
  }),

  defineCase(238, 'memory put over a page before UNMAP clears the byte only', async t => {
    const { owner, d, index, region, bell } = await armed(t, 1, 5)
    await ok(region.replace())
    assert.equal(await owner.byte(5), 0)
    await bell.expectSilence()
    await ok(d.unmap(index))
    await bell.expectOnce()
  }),

  defineCase(240, 'memory put over the armed page of two clears the byte only', async t => {
    const { owner, d, index, region, bell } = await armed(t, 2, 5)
    await ok(d.unmap(index, 2))
    await ok(region.part(0, 1).replace())
    assert.equal(await owner.byte(5), 0)
    await bell.expectSilence()
    await region.store(PAGE_SIZE, 3)
    assert.equal(await owner.byte(PAGE_SIZE), 3)
    await ok(region.part(1, 1).munmap())
    await bell.expectOnce()
  }),
]

const inPieces: readonly ConformanceCase[] = [
  defineCase(241, 'munmap of a page beside the armed one fires nothing', async t => {
    const { owner, d, index, region, bell } = await armed(t, 2, PAGE_SIZE + 5)
    await ok(d.unmap(index, 2))
    await ok(region.part(0, 1).munmap())
    await bell.expectSilence()
    assert.equal(await owner.byte(PAGE_SIZE + 5), 7)
    await ok(region.part(1, 1).munmap())
    await bell.expectOnce()
    assert.equal(await owner.byte(PAGE_SIZE + 5), 0)
  }),

  defineCase(242, 'a page that was unmapped alone can be revoked alone', async t => {
    const a = await t.gntalloc()
    const { index, grants } = await a.granted({ count: 2 })
    const d = await t.gntdev()
    const { region } = await d.mapped(grants)
    await ok(region.part(0, 1).munmap())
    await ok(a.dealloc(index, 2))
    await refused('EINVAL', d.tryMap(grants.slice(0, 1)))
    await region.store(PAGE_SIZE, 3)
    assert.equal(await region.byte(PAGE_SIZE), 3)
  }),

  defineCase(243, 'a piece of a mapping has the offset and the count of the whole', async t => {
    const { grants } = await (await t.gntalloc()).granted({ count: 2 })
    const d = await t.gntdev()
    await d.mapAnything()
    const { index, region } = await d.mapped(grants)
    await ok(region.part(0, 1).munmap())
    const whole = { result: 0, offset: index, count: 2 }
    assert.deepEqual(await d.offsetFor(region.part(1, 1).address), whole)
    assert.deepEqual(await d.offsetFor(region.address), whole)
  }),

  defineCase(290, 'a mapping that failed pins none of its pages', async t => {
    const a = await t.gntalloc()
    const { index, grants } = await a.granted()
    const d = await t.gntdev()
    const both = await ok(d.map([...grants, { domid: t.domid, ref: NO_SUCH_REF }]))
    await refused('EINVAL', d.mmap(both.index, 2))
    await ok(a.dealloc(index))
    await refused('EINVAL', d.tryMap(grants))
    assert.equal(await d.unmap(both.index, 2), 0)
    await refused('EINVAL', d.tryMap(grants))
  }),
]

const protectedOrMoved: readonly ConformanceCase[] = [
  defineCase(250, 'mprotect to the protection that was there changes nothing', async t => {
    const { grants, region: owner } = await (await t.gntalloc()).share()
    const { region } = await (await t.gntdev()).mapped(grants)
    assert.equal(await region.protect(PROT_RW), 0)
    await region.store(0, 4)
    assert.equal(await owner.byte(0), 4)
  }),

  defineCaseFor('remap', 267, 'only a private futex works on a mapped page'),
  defineCaseFor('remap', 269, 'a mapped page is a buffer as any, except for msync'),
  defineCaseFor('fault', 300, 'mprotect to another protection unmaps the pages for good'),
  defineCaseFor('remap', 301, 'MADV_DONTNEED unmaps the pages'),
  defineCaseFor('fault', 302, 'a mapping without access cannot be made accessible'),
  defineCaseFor('fault', 303, 'a read-only mapping cannot be made writable'),
  defineCaseFor('remap', 304, 'a moved mapping has lost its pages'),
  defineCaseFor('remap', 305, 'a shrunk mapping keeps the pages that stay'),
  defineCaseFor('destructive', 307, 'a byte armed before a read-only mapping is an oops'),
  defineCaseFor('fault', 308, 'a private mapping made writable loses its page, or may not be'),
]

const inherited: readonly ConformanceCase[] = [
  defineCaseFor('fork', 273, 'the exit of a forked child fires nothing'),
  defineCaseFor('fork', 274, 'the event waits for the descriptor of a forked child'),
  defineCaseFor('fork', 275, 'a forked child may map an index of its parent'),
  defineCaseFor('destructive', 306, 'a foreign page given to a forked child hangs the kernel'),
  defineCaseFor('fork', 309, 'a forked child may unmap a range that it did not inherit'),
]

export const pvMappings: readonly ConformanceCase[] = [
  ...replaced,
  ...inPieces,
  ...protectedOrMoved,
  ...inherited,
]
