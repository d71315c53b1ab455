/** Section 7.8: UNMAP_GRANT_REF, and how long a mapping lives. */
import assert from 'node:assert/strict'
import { PAGE_SIZE } from '../../abi/page.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import { ok, refused } from '../verdict.ts'

export const gntdevUnmap: readonly ConformanceCase[] = [
  defineCase(131, 'a map that was never mmapped can be unmapped', async t => {
    const d = await t.gntdev()
    await ok(d.unmap(await d.mapAnything(2), 2))
  }),

  defineCase(132, 'UNMAP wants the count of the map', async t => {
    const d = await t.gntdev()
    const index = await d.mapAnything(2)
    await refused('ENOENT', d.unmap(index, 1))
    await refused('ENOENT', d.unmap(index, 3))
    await ok(d.unmap(index, 2))
  }),

  defineCase(133, 'UNMAP with a count of 0 takes any map', async t => {
    const d = await t.gntdev()
    const index = await d.mapAnything(2)
    await ok(d.unmap(index, 0))
    await refused('ENOENT', d.unmap(index, 2))
  }),

  defineCase(134, 'UNMAP ignores where in a page the index lies', async t => {
    const d = await t.gntdev()
    await ok(d.unmap((await d.mapAnything()) + 123))
  }),

  defineCase(135, 'UNMAP where no map is is ENOENT', async t => {
    const d = await t.gntdev()
    await refused('ENOENT', d.unmap(0))
    await d.mapAnything(2)
    await refused('ENOENT', d.unmap(PAGE_SIZE))
  }),

  defineCase(136, 'a map can be unmapped once', async t => {
    const d = await t.gntdev()
    const index = await d.mapAnything(2)
    await ok(d.unmap(index, 2))
    await refused('ENOENT', d.unmap(index, 2))
  }),

  defineCase(137, 'a map is unmapped through its own descriptor', async t => {
    const d = await t.gntdev()
    const index = await d.mapAnything()
    await refused('ENOENT', (await t.gntdev()).unmap(index))
    await ok(d.unmap(index))
  }),

  defineCase(138, 'a mapping outlives UNMAP', async t => {
    const { grants, region: ours } = await (await t.peerGntalloc()).share()
    const d = await t.gntdev()
    const { index, region } = await d.mapped(grants)
    await ok(d.unmap(index))
    await region.store(0, 3)
    assert.equal(await ours.byte(0), 3)
    await ok(region.munmap())
  }),

  defineCase(139, 'a mapping of a grant outlives its descriptor', async t => {
    const { grants, region: ours } = await (await t.peerGntalloc()).share()
    const d = await t.gntdev()
    const { region } = await d.mapped(grants)
    await d.close()
    await region.store(0, 3)
    assert.equal(await ours.byte(0), 3)
  }),

  defineCaseFor('hvm', 140, 'in HVM a grant stays mapped by munmap alone', async t => {
    const a = await t.peerGntalloc()
    const { index, grants } = await a.granted()
    const d = await t.gntdev()
    const { region } = await d.mapped(grants)
    await ok(region.munmap())
    await ok(a.dealloc(index))
    await t.settleDeferred()
    await ok(d.probe(grants))
  }),

  defineCaseFor('pv', 141, 'in PV munmap alone lets go of a grant', async t => {
    const a = await t.peerGntalloc()
    const { index, grants } = await a.granted()
    const d = await t.gntdev()
    const { region } = await d.mapped(grants)
    await ok(region.munmap())
    await ok(a.dealloc(index))
    await t.settleDeferred()
    await refused('EINVAL', d.probe(grants))
  }),

  defineCase(142, 'the index of an unmapped map is free while its mapping lives', async t => {
    const { grants, region: ours } = await (await t.peerGntalloc()).share()
    const d = await t.gntdev()
    const { index, region } = await d.mapped(grants)
    await ok(d.unmap(index))
    assert.equal(await d.mapAnything(), index)
    await region.store(0, 3)
    assert.equal(await ours.byte(0), 3)
  }),
]
