/** Section 7.7: mmap of gntdev, where the hypervisor maps or refuses. */
import assert from 'node:assert/strict'
import { DOMID_SELF } from '../../abi/domid.ts'
import { MAP_PRIVATE, PROT_READ } from '../../abi/mman.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import { NO_SUCH_DOMAIN, NO_SUCH_REF } from '../nonsense.ts'
import { PROT_RW } from '../region.ts'
import { resize } from '../system-calls.ts'
import { ok, refused } from '../verdict.ts'

/** How often Xen lets one grant be mapped at once: 128 pins, of which PV takes two each time. */
const MAPPINGS_PER_GRANT = { pv: 64, hvm: 128 }

const placing: readonly ConformanceCase[] = [
  defineCase(100, 'both sides of a writable grant see what the other stores', async t => {
    const { grants, region: ours } = await (await t.peerGntalloc()).share()
    const { region: theirs } = await (await t.gntdev()).mapped(grants)
    await ours.store(0, 1)
    await theirs.store(PAGE_SIZE - 1, 2)
    assert.equal(await theirs.byte(0), 1)
    assert.equal(await ours.byte(PAGE_SIZE - 1), 2)
  }),

  defineCase(101, 'an mmap shorter than its map is EINVAL', async t => {
    const d = await t.gntdev()
    await refused('EINVAL', d.mmap(await d.mapAnything(2), 1))
  }),

  defineCase(102, 'an mmap longer than its map is EINVAL', async t => {
    const d = await t.gntdev()
    await refused('EINVAL', d.mmap(await d.mapAnything(), 2))
  }),

  defineCase(103, 'an mmap from the middle of a map is EINVAL', async t => {
    const d = await t.gntdev()
    await refused('EINVAL', d.mmap((await d.mapAnything(2)) + PAGE_SIZE))
  }),

  defineCase(104, 'an mmap where no map is is EINVAL', async t => {
    await refused('EINVAL', (await t.gntdev()).mmap(0))
  }),

  defineCase(
    105,
    'an index that is mapped cannot be mapped again, but in HVM where none is spent',
    async t => {
      const { grants } = await (await t.peerGntalloc()).granted()
      const d = await t.gntdev()
      const { index } = await d.mapped(grants)
      if (t.profile.mapsOnce || t.kind === 'pv') await refused('EINVAL', d.mmap(index))
      else await ok(d.mmap(index))
    },
  ),

  defineCase(
    106,
    'an index that was mapped cannot be mapped again, where it is spent by that',
    async t => {
      const { grants } = await (await t.peerGntalloc()).granted()
      const d = await t.gntdev()
      const { index, region } = await d.mapped(grants)
      await ok(region.munmap())
      if (t.profile.mapsOnce) await refused('EINVAL', d.mmap(index))
      else await ok(d.mmap(index))
    },
  ),

  defineCase(402, 'an index that was mapped read-only never becomes writable', async t => {
    const { grants } = await (await t.peerGntalloc()).granted()
    const d = await t.gntdev()
    const { index, region } = await d.mapped(grants, { prot: PROT_READ })
    await ok(region.munmap())
    await refused('EINVAL', d.mmap(index))
    if (!t.profile.mapsOnce) await ok(d.mmap(index, 1, { prot: PROT_READ }))
  }),

  defineCase(107, 'a private writable mapping is EINVAL', async t => {
    const d = await t.gntdev()
    const index = await d.mapAnything()
    await refused('EINVAL', d.mmap(index, 1, { flags: MAP_PRIVATE }))
    await ok(d.unmap(index))
  }),

  defineCase(108, 'a refused private mapping does not spend its index', async t => {
    const { grants } = await (await t.peerGntalloc()).granted()
    const d = await t.gntdev()
    const { index } = await ok(d.map(grants))
    await refused('EINVAL', d.mmap(index, 1, { flags: MAP_PRIVATE }))
    await ok(d.mmap(index))
  }),

  defineCase(109, 'a private mapping may be read-only, and on 6.12 stays so', async t => {
    const { grants, region: ours } = await (await t.peerGntalloc()).share()
    await ours.store(0, 9)
    const options = { flags: MAP_PRIVATE, prot: PROT_READ }
    const { region } = await (await t.gntdev()).mapped(grants, options)
    assert.equal(await region.byte(0), 9)
    if (t.profile.sealsPrivateMappings) await refused('EACCES', region.protect(PROT_RW))
    else await ok(region.protect(PROT_RW))
  }),

  defineCase(123, 'a descriptor opened read-only maps read-only', async t => {
    const { grants, region: ours } = await (await t.peerGntalloc()).share()
    await ours.store(0, 9)
    const d = await t.gntdev({ access: 'read' })
    const { region } = await d.mapped(grants, { prot: PROT_READ })
    assert.equal(await region.byte(0), 9)
  }),

  defineCase(124, 'a descriptor opened read-only maps nothing writable: EACCES', async t => {
    const d = await t.gntdev({ access: 'read' })
    await refused('EACCES', d.mmap(await d.mapAnything()))
  }),

  defineCaseFor('remap', 125, 'a mapping of a grant cannot grow by mremap: EFAULT', async t => {
    const { grants } = await (await t.peerGntalloc()).granted()
    const { region } = await (await t.gntdev({ on: await t.able() })).mapped(grants)
    await refused('EFAULT', resize(region, 2))
  }),

  defineCaseFor(['hvm', 'fork'], 126, 'in HVM a forked child may inherit a mapping', async t => {
    const { grants, region: theirs } = await (await t.peerGntalloc()).share()
    await theirs.store(0, 9)
    const on = await t.able()
    const { region } = await (await t.gntdev({ on })).mapped(grants)
    const seen = await region.in(await on.fork()).load(0)
    assert.equal(seen, t.profile.inheritsMappings ? 9 : 'SIGSEGV')
  }),

  defineCaseFor(
    ['pv', 'fork'],
    127,
    'in PV a forked child inherits no mapping of a grant',
    async t => {
      const { grants } = await (await t.peerGntalloc()).granted()
      const on = await t.able()
      const { region } = await (await t.gntdev({ on })).mapped(grants)
      assert.equal(await region.in(await on.fork()).load(0), 'SIGSEGV')
      assert.equal(await region.load(0), 0)
    },
  ),
]

const refusals: readonly ConformanceCase[] = [
  defineCase(110, 'a read-only grant cannot be mapped writable', async t => {
    const { grants } = await (await t.peerGntalloc()).granted({ flags: 0 })
    await refused('EINVAL', (await t.gntdev()).tryMap(grants))
  }),

  defineCaseFor(
    'fault',
    111,
    'a store to a read-only grant mapped read-only is SIGSEGV',
    async t => {
      const { grants, region: ours } = await (await t.peerGntalloc()).share({ flags: 0 })
      const d = await t.gntdev({ on: await t.able() })
      const { region } = await d.mapped(grants, { prot: PROT_READ })
      await ours.store(3, 7)
      assert.equal(await region.load(3), 7)
      assert.equal(await region.tryStore(3, 8), 'SIGSEGV')
      assert.equal(await ours.byte(3), 7)
    },
  ),

  defineCase(112, 'a writable grant can be mapped read-only', async t => {
    const { grants, region: ours } = await (await t.peerGntalloc()).share()
    await ours.store(0, 9)
    const { region } = await (await t.gntdev()).mapped(grants, { prot: PROT_READ })
    assert.equal(await region.byte(0), 9)
  }),

  defineCase(113, 'a ref that is free cannot be mapped', async t => {
    const a = await t.peerGntalloc()
    const { index, grants } = await a.granted()
    await ok(a.dealloc(index))
    await refused('EINVAL', (await t.gntdev()).tryMap(grants))
  }),

  defineCase(114, 'a grant of no domain cannot be mapped', async t => {
    const d = await t.gntdev()
    await refused('EINVAL', d.tryMap([{ domid: NO_SUCH_DOMAIN, ref: 8 }]))
  }),

  defineCase(115, 'a ref behind the grant table cannot be mapped', async t => {
    const d = await t.gntdev()
    await refused('EINVAL', d.tryMap([{ domid: t.peerDomid, ref: NO_SUCH_REF }]))
  }),

  defineCase(116, 'a grant made to another domain cannot be mapped', async t => {
    const { grants } = await (await t.peerGntalloc()).granted({ domid: t.domid + 1 })
    await refused('EINVAL', (await t.gntdev()).tryMap(grants))
  }),

  defineCase(117, 'one bad ref makes the whole mmap fail', async t => {
    const { grants } = await (await t.peerGntalloc()).granted()
    const bad = { domid: t.peerDomid, ref: NO_SUCH_REF }
    const d = await t.gntdev()
    await refused('EINVAL', d.tryMap([...grants, bad]))
    await refused('EINVAL', d.tryMap([bad, ...grants]))
  }),

  defineCase(118, 'an mmap that Xen refused has spent its index', async t => {
    const { grants } = await (await t.peerGntalloc()).granted({ flags: 0 })
    const d = await t.gntdev()
    const { index } = await ok(d.map(grants))
    await refused('EINVAL', d.mmap(index))
    await refused('EINVAL', d.mmap(index, 1, { prot: PROT_READ }))
    await ok(d.tryMap(grants, { prot: PROT_READ }))
  }),

  defineCase(119, 'a map whose mmap failed can be unmapped', async t => {
    const d = await t.gntdev()
    const index = await d.mapAnything()
    await refused('EINVAL', d.mmap(index))
    await ok(d.unmap(index))
  }),

  defineCaseFor(
    'hvm',
    120,
    'in HVM the good pages of a failed mmap stay pinned until UNMAP',
    async t => {
      const a = await t.peerGntalloc()
      const { index, grants } = await a.granted()
      const d = await t.gntdev()
      const both = await ok(d.map([...grants, { domid: t.peerDomid, ref: NO_SUCH_REF }]))
      await refused('EINVAL', d.mmap(both.index, 2))
      await ok(a.dealloc(index))
      await t.settleDeferred()
      await ok(d.probe(grants))
      assert.equal(await d.unmap(both.index, 2), 0)
      await t.settleDeferred()
      await ok(a.alloc({ count: 0 }))
      await refused('EINVAL', d.probe(grants))
    },
  ),

  defineCase(129, 'DOMID_SELF names nobody in a map', async t => {
    const { ref } = await (await t.peerGntalloc()).granted()
    await refused('EINVAL', (await t.gntdev()).tryMap([{ domid: DOMID_SELF, ref }]))
  }),
]

const naming: readonly ConformanceCase[] = [
  defineCase(121, 'a grant can be mapped twice and is the same memory', async t => {
    const { grants } = await (await t.peerGntalloc()).granted()
    const d = await t.gntdev()
    const { region: one } = await d.mapped(grants)
    const { region: other } = await d.mapped(grants)
    await one.store(0, 1)
    await other.store(1, 2)
    assert.deepEqual(await one.bytes(0, 2), Uint8Array.of(1, 2))
    assert.deepEqual(await other.bytes(0, 2), Uint8Array.of(1, 2))
  }),

  defineCase(
    122,
    'a grant can be mapped 64 times at once in PV, 128 times in HVM, and no more',
    async t => {
      const { grants } = await (await t.peerGntalloc()).granted()
      const d = await t.gntdev()
      const { index, region } = await d.mapped(grants)
      for (let i = 1; i < MAPPINGS_PER_GRANT[t.kind]; i++) await d.mapped(grants)
      await refused('EINVAL', d.tryMap(grants))
      await ok(region.munmap())
      await ok(d.unmap(index))
      await ok(d.tryMap(grants))
    },
  ),

  defineCase(128, 'the upper half of a domid is ignored', async t => {
    const { ref, region: ours } = await (await t.peerGntalloc()).share()
    await ours.store(0, 9)
    const { region } = await (await t.gntdev()).mapped([{ domid: t.peerDomid + 0x10000, ref }])
    assert.equal(await region.byte(0), 9)
  }),

  defineCaseFor('two-domains', 130, 'one map may hold pages of several domains', async t => {
    const other = await t.otherDomain()
    const own = await (await t.peerGntalloc()).share()
    const on = await other.puppet()
    const theirs = await (await t.gntalloc({ on })).share({ domid: t.domid })
    await own.region.store(0, 1)
    await theirs.region.store(0, 2)
    const d = await t.gntdev()
    const { region } = await d.mapped([...own.grants, { domid: other.domid, ref: theirs.ref }])
    assert.deepEqual([await region.byte(0), await region.byte(PAGE_SIZE)], [1, 2])
  }),
]

export const gntdevMmap: readonly ConformanceCase[] = [...placing, ...refusals, ...naming]
