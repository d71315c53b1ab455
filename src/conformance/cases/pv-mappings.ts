/**
 * Section 7.13: mappings of gntdev in a PV domain, whose pages are unmapped from the hypervisor
 * whenever they leave the process, whatever the descriptor says. The event waits for both.
 */
import assert from 'node:assert/strict'
import { MADV_DONTNEED, MAP_PRIVATE, PROT_NONE, PROT_READ } from '../../abi/mman.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { armedMap } from '../armed.ts'
import { expectBuffer } from '../buffers.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import type { CaseContext } from '../context.ts'
import { NO_SUCH_REF } from '../nonsense.ts'
import { PROT_RW } from '../region.ts'
import { futexWait, madvise, move, resize } from '../system-calls.ts'
import { ok, refused } from '../verdict.ts'

/** A writable grant mapped with less than that loses its page when it is to be writable. */
async function expectLostByProtect(t: CaseContext, prot: number): Promise<void> {
  const { grants } = await (await t.peerGntalloc()).granted()
  const { region } = await (await t.gntdev({ on: await t.able() })).mapped(grants, { prot })
  assert.equal(await region.protect(PROT_RW), 0)
  assert.equal(await region.load(0), 'SIGBUS')
  assert.equal(await region.tryStore(0, 1), 'SIGBUS')
}

const replaced: readonly ConformanceCase[] = [
  defineCase(237, 'memory put over a page after UNMAP fires both', async t => {
    const { owner, d, index, region, bell } = await armedMap(t)
    await ok(d.unmap(index))
    await bell.expectSilence()
    await ok(region.replace())
    await bell.expectOnce()
    assert.equal(await owner.byte(5), 0)
    await region.store(9, 9)
    assert.equal(await owner.byte(9), 0)
  }),

  defineCaseFor('pv', 238, 'memory put over a page before UNMAP clears the byte only', async t => {
    const { owner, d, index, region, bell } = await armedMap(t)
    await ok(region.replace())
    assert.equal(await owner.byte(5), 0)
    await bell.expectSilence()
    await ok(d.unmap(index))
    await bell.expectOnce()
  }),

  defineCaseFor(
    'pv',
    240,
    'memory put over the armed page of two clears the byte only',
    async t => {
      const { owner, d, index, region, bell } = await armedMap(t, { pages: 2 })
      await ok(d.unmap(index, 2))
      await ok(region.part(0, 1).replace())
      assert.equal(await owner.byte(5), 0)
      await bell.expectSilence()
      await region.store(PAGE_SIZE, 3)
      assert.equal(await owner.byte(PAGE_SIZE), 3)
      await ok(region.part(1, 1).munmap())
      await bell.expectOnce()
    },
  ),
]

const inPieces: readonly ConformanceCase[] = [
  defineCase(241, 'munmap of a page beside the armed one fires nothing', async t => {
    const { owner, d, index, region, bell } = await armedMap(t, { pages: 2, offset: PAGE_SIZE + 5 })
    await ok(d.unmap(index, 2))
    await ok(region.part(0, 1).munmap())
    await bell.expectSilence()
    assert.equal(await owner.byte(PAGE_SIZE + 5), 7)
    await ok(region.part(1, 1).munmap())
    await bell.expectOnce()
    assert.equal(await owner.byte(PAGE_SIZE + 5), 0)
  }),

  defineCaseFor('pv', 242, 'a page that was unmapped alone can be revoked alone', async t => {
    const a = await t.peerGntalloc()
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
    const { grants } = await (await t.peerGntalloc()).granted({ count: 2 })
    const d = await t.gntdev()
    await d.mapAnything()
    const { index, region } = await d.mapped(grants)
    await ok(region.part(0, 1).munmap())
    const whole = { result: 0, offset: index, count: 2 }
    assert.deepEqual(await d.offsetFor(region.part(1, 1).address), whole)
    assert.deepEqual(await d.offsetFor(region.address), whole)
  }),

  defineCaseFor('pv', 290, 'a mapping that failed pins none of its pages', async t => {
    const a = await t.peerGntalloc()
    const { index, grants } = await a.granted()
    const d = await t.gntdev()
    const both = await ok(d.map([...grants, { domid: t.peerDomid, ref: NO_SUCH_REF }]))
    await refused('EINVAL', d.mmap(both.index, 2))
    await ok(a.dealloc(index))
    await refused('EINVAL', d.tryMap(grants))
    assert.equal(await d.unmap(both.index, 2), 0)
    await refused('EINVAL', d.tryMap(grants))
  }),
]

const protectedOrMoved: readonly ConformanceCase[] = [
  defineCase(250, 'mprotect to the protection that was there changes nothing', async t => {
    const { grants, region: owner } = await (await t.peerGntalloc()).share()
    const { region } = await (await t.gntdev()).mapped(grants)
    assert.equal(await region.protect(PROT_RW), 0)
    await region.store(0, 4)
    assert.equal(await owner.byte(0), 4)
  }),

  defineCaseFor('remap', 267, 'only a private futex works on a mapped page', async t => {
    const { grants } = await (await t.peerGntalloc()).granted()
    const { region } = await (await t.gntdev({ on: await t.able() })).mapped(grants)
    await refused('EFAULT', futexWait(region, 'shared'))
    await refused('ETIMEDOUT', futexWait(region, 'private'))
  }),

  defineCaseFor('remap', 269, 'a mapped page is a buffer as any, except for msync', async t => {
    const { grants } = await (await t.peerGntalloc()).granted({ count: 2 })
    const { region } = await (await t.gntdev({ on: await t.able() })).mapped(grants)
    await expectBuffer(t, region.part(0, 1), region.part(1, 1))
  }),

  defineCaseFor(
    ['pv', 'fault'],
    300,
    'mprotect to another protection unmaps the pages for good',
    async t => {
      const { owner, d, index, region, bell } = await armedMap(t, { on: await t.able() })
      assert.equal(await region.protect(PROT_READ), 0)
      assert.equal(await owner.byte(5), 0)
      assert.equal(await region.load(0), 'SIGBUS')
      assert.equal(await region.protect(PROT_RW), 0)
      assert.equal(await region.tryStore(0, 1), 'SIGBUS')
      await ok(region.munmap())
      await bell.expectSilence()
      await ok(d.unmap(index))
      await bell.expectOnce()
    },
  ),

  defineCaseFor(['pv', 'remap'], 301, 'MADV_DONTNEED unmaps the pages', async t => {
    const { owner, d, index, region, bell } = await armedMap(t, { on: await t.able() })
    if (t.profile.mapsBareFrames) {
      await refused('EINVAL', madvise(region, MADV_DONTNEED))
      assert.equal(await region.byte(5), 7)
      return
    }
    assert.equal(await madvise(region, MADV_DONTNEED), 0)
    assert.equal(await owner.byte(5), 0)
    assert.equal(await region.load(0), 'SIGBUS')
    assert.equal(await region.munmap(), 0)
    await bell.expectSilence()
    await ok(d.unmap(index))
    await bell.expectOnce()
  }),

  defineCaseFor(
    ['pv', 'fault'],
    302,
    'a mapping without access cannot be made accessible',
    async t => {
      await expectLostByProtect(t, PROT_NONE)
    },
  ),

  defineCaseFor(['pv', 'fault'], 303, 'a read-only mapping cannot be made writable', async t => {
    await expectLostByProtect(t, PROT_READ)
  }),

  defineCaseFor(['pv', 'remap'], 304, 'a moved mapping has lost its pages', async t => {
    const on = await t.able()
    const { owner, d, index, region, bell } = await armedMap(t, { on })
    const moved = await move(region, await t.memory(1, on))
    assert.equal(await owner.byte(5), 0)
    assert.equal(await moved.load(0), 'SIGBUS')
    assert.equal(await region.load(0), 'SIGSEGV')
    await ok(moved.munmap())
    await bell.expectSilence()
    await ok(d.unmap(index))
    await bell.expectOnce()
  }),

  defineCaseFor(['pv', 'remap'], 305, 'a shrunk mapping keeps the pages that stay', async t => {
    const { owner, d, index, region, bell } = await armedMap(t, { pages: 2, on: await t.able() })
    assert.equal(await resize(region, 1), region.address)
    assert.equal(await owner.byte(5), 7)
    await region.store(6, 8)
    assert.equal(await owner.byte(6), 8)
    assert.equal(await region.load(PAGE_SIZE), 'SIGSEGV')
    await ok(d.unmap(index, 2))
    await bell.expectSilence()
    await ok(region.part(0, 1).munmap())
    await bell.expectOnce()
    assert.equal(await owner.byte(5), 0)
  }),

  defineCaseFor(['pv', 'destructive'], 307, 'a byte armed before a read-only mapping is an oops'),
  defineCaseFor(
    ['pv', 'fault'],
    308,
    'a private mapping made writable loses its page, or may not be',
    async t => {
      const { grants } = await (await t.peerGntalloc()).granted()
      const d = await t.gntdev({ on: await t.able() })
      const { region } = await d.mapped(grants, { flags: MAP_PRIVATE, prot: PROT_READ })
      if (t.profile.sealsPrivateMappings) {
        await refused('EACCES', region.protect(PROT_RW))
        assert.equal(await region.load(0), 0)
      } else {
        assert.equal(await region.protect(PROT_RW), 0)
        assert.equal(await region.load(0), 'SIGBUS')
      }
    },
  ),
]

const inherited: readonly ConformanceCase[] = [
  defineCaseFor('fork', 273, 'the exit of a forked child fires nothing', async t => {
    const on = await t.able()
    const { owner, region, bell } = await armedMap(t, { on })
    await (await on.fork()).exit()
    await bell.expectSilence()
    assert.equal(await owner.byte(5), 7)
    await region.store(6, 8)
    assert.equal(await owner.byte(6), 8)
  }),

  defineCaseFor(
    ['pv', 'fork'],
    274,
    'the event waits for the descriptor of a forked child',
    async t => {
      const on = await t.able()
      const { owner, d, region, bell } = await armedMap(t, { on })
      const child = await on.fork()
      await ok(region.munmap())
      assert.equal(await owner.byte(5), 0)
      await d.close()
      await bell.expectSilence()
      await child.exit()
      await bell.expectOnce()
    },
  ),

  defineCaseFor(
    'fork',
    275,
    'a forked child may map an index of its parent, unless only the opener may',
    async t => {
      const { grants, region: owner } = await (await t.peerGntalloc()).share()
      const on = await t.able()
      const d = await t.gntdev({ on })
      const { index } = await ok(d.map(grants))
      const child = await on.fork()
      const { mapsForAnyProcess, mapsOnce } = t.profile
      if (mapsForAnyProcess || t.kind === 'hvm') {
        const region = await d.in(child).region(index)
        await region.store(3, 7)
        assert.equal(await owner.byte(3), 7)
        await child.exit()
      } else await refused('EINVAL', d.in(child).mmap(index))
      if (mapsOnce) await refused('EINVAL', d.mmap(index))
      else await ok(d.mmap(index))
      assert.equal(await d.unmap(index), 0)
    },
  ),

  defineCaseFor('destructive', 306, 'a foreign page given to a forked child hangs the kernel'),
  defineCaseFor(
    ['pv', 'fork'],
    309,
    'a forked child may unmap a range that it did not inherit',
    async t => {
      const on = await t.able()
      const { owner, region, bell } = await armedMap(t, { on })
      assert.equal(await region.in(await on.fork()).munmap(), 0)
      await bell.expectSilence()
      assert.equal(await owner.byte(5), 7)
      await region.store(6, 8)
      assert.equal(await owner.byte(6), 8)
    },
  ),
]

export const pvMappings: readonly ConformanceCase[] = [
  ...replaced,
  ...inPieces,
  ...protectedOrMoved,
  ...inherited,
]
