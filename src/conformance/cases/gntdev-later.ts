/** Section 7.13: what running the cases taught about the indexes and lifetimes of gntdev. */
import assert from 'node:assert/strict'
import { UNMAP_NOTIFY_CLEAR_BYTE, UNMAP_NOTIFY_SEND_EVENT } from '../../abi/gntalloc.ts'
import { GNTDEV_DMABUF_EXP_FROM_REFS } from '../../abi/gntdev.ts'
import { PROT_READ } from '../../abi/mman.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { type ConformanceCase, defineCase } from '../case.ts'
import { NO_SUCH_REF } from '../nonsense.ts'
import { ok, refused } from '../verdict.ts'

const BOTH = UNMAP_NOTIFY_CLEAR_BYTE | UNMAP_NOTIFY_SEND_EVENT

/** The driver narrows an index to 32 bits of pages: this many bytes on it is the same again. */
const INDEX_WRAP = 2 ** 44

/** The top of user space: no memory is above. */
const LAST_PAGE = 2 ** 47 - 2 * PAGE_SIZE

interface Span {
  start: number
  count: number
}

/** The maps of a descriptor, in pages, after the rule of section 2.4. */
class IndexModel {
  spans: Span[] = []

  /** The first place where a map fits with at least one page to spare, or the end. */
  add(count: number): Span {
    let start = 0
    let at = 0
    for (const span of this.spans) {
      if (start + count < span.start) break
      start = span.start + span.count
      at++
    }
    const span = { start, count }
    this.spans.splice(at, 0, span)
    return span
  }

  take(n: number): Span | undefined {
    return this.spans.splice(n, 1)[0]
  }
}

/** The same numbers below `limit` each time (a linear congruential generator). */
function rolls(): (limit: number) => number {
  let state = 280
  return limit => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * limit)
  }
}

const indexes: readonly ConformanceCase[] = [
  defineCase(278, 'UNMAP narrows its index to 32 bits of pages, notify does not', async t => {
    const d = await t.gntdev()
    await d.mapAnything()
    assert.equal(await d.unmap(INDEX_WRAP), 0)
    await refused('ENOENT', d.unmap(0))
    await d.mapAnything()
    assert.equal(await d.setNotify(0, 0), 0)
    await refused('ENOENT', d.setNotify(INDEX_WRAP, 0))
  }),

  defineCase(280, 'each index follows from the maps that are there', async t => {
    const d = await t.gntdev()
    const model = new IndexModel()
    const roll = rolls()
    for (let step = 0; step < 300; step++) {
      const gone = roll(2) === 0 ? model.take(roll(model.spans.length)) : undefined
      if (gone) await ok(d.unmap(gone.start * PAGE_SIZE, gone.count))
      else {
        const count = 1 + roll(4)
        assert.equal(await d.mapAnything(count), model.add(count).start * PAGE_SIZE)
      }
    }
  }),

  defineCase(281, 'an address above all memory has no offset: EINVAL', async t => {
    await refused('EINVAL', (await t.gntdev()).offsetFor(LAST_PAGE))
  }),

  defineCase(282, 'a kernel without dma-buf for grants does not know the call', async t => {
    const d = await t.gntdev()
    await refused(t.profile.unknownIoctl, d.ioctl(GNTDEV_DMABUF_EXP_FROM_REFS, new Uint8Array(20)))
  }),
]

const lifetimes: readonly ConformanceCase[] = [
  defineCase(276, 'pages of a killed granter live on while they are mapped', async t => {
    const victim = await t.disposable()
    const { grants } = await (await t.gntalloc({ on: victim })).granted()
    const d = await t.peerGntdev()
    const { index, region } = await d.mapped(grants)
    await region.store(0, 1)
    await victim.kill()
    assert.equal(await region.byte(0), 1)
    // The kernel looks again every second whether it can have the page back.
    await t.settleDeferred()
    const again = await d.mapped(grants)
    await region.store(0, 2)
    assert.equal(await again.region.byte(0), 2)
    for (const one of [{ index, region }, again]) {
      await ok(one.region.munmap())
      await ok(d.unmap(one.index))
    }
    await t.settleDeferred()
    // The granter is gone: without a timer nobody of its domain has called since.
    if (!t.profile.freesByTimer) await ok((await t.gntalloc()).alloc({ count: 0 }))
    await refused('EINVAL', d.tryMap(grants))
  }),

  defineCase(279, 'a map whose mmap failed can be armed, and UNMAP sends its event', async t => {
    const bell = await t.channel()
    const d = await t.gntdev()
    const { index } = await ok(d.map([{ domid: t.peerDomid, ref: NO_SUCH_REF }]))
    await refused('EINVAL', d.mmap(index))
    assert.equal(await d.setNotify(index, BOTH, bell.port), 0)
    assert.equal(await d.unmap(index), 0)
    await bell.expectOnce()
  }),

  defineCase(283, 'a read-only mapping outlives its grant and its map', async t => {
    const a = await t.peerGntalloc()
    const granted = await a.granted({ flags: 0 })
    const d = await t.gntdev()
    const { index, region } = await d.mapped(granted.grants, { prot: PROT_READ })
    // That we have it mapped gives no right to more.
    await refused('EINVAL', d.tryMap(granted.grants))
    assert.equal(await a.dealloc(granted.index), 0)
    assert.equal(await d.unmap(index), 0)
    assert.equal(await region.byte(0), 0)
  }),
]

export const gntdevLater: readonly ConformanceCase[] = [...indexes, ...lifetimes]
