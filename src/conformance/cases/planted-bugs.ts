/** What bugs that were planted into the drivers (mutants/) could hide behind all other cases. */
import assert from 'node:assert/strict'
import { NR_VIRQS } from '../../abi/event-channel.ts'
import { GNTST } from '../../abi/grant-table.ts'
import { PROT_READ } from '../../abi/mman.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { armedMap } from '../armed.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import type { CaseContext } from '../context.ts'
import { ok, refused } from '../verdict.ts'
import { defineCopying } from './grant-copy.ts'

/** More than any domain id is wide; drivers and hypervisor narrow what lies above. */
const BEYOND_DOMID = 0x1_0000
/** A port below the channel maximum that nobody has. */
const FREE_PORT = 1000
/** Operations that a GRANT_COPY collects before it has them done. */
const BATCH = 16
/** The last virtual interrupt: no kernel of ours binds it. */
const IDLE_VIRQ = NR_VIRQS - 1

/** Two pages of ours, granted to ourselves and mapped where they were made. */
async function twoPages(t: CaseContext) {
  const a = await t.gntalloc()
  const { grants, region } = await a.share({ domid: t.domid, count: 2 })
  const place = (page: number, offset = 0) => ({
    domid: t.domid,
    ref: grants[page]?.ref ?? Number.NaN,
    offset,
  })
  return { region, place }
}

const copies: readonly ConformanceCase[] = [
  defineCopying(
    600,
    'a copy beyond the end of a granted page is EINVAL, at either side',
    async t => {
      const { place } = await twoPages(t)
      const source = { address: (await t.memory()).address }
      const d = await t.gntdev()
      await refused('EINVAL', d.copy([{ source, dest: place(0, 4000), len: 97 }]))
      await refused('EINVAL', d.copy([{ source: place(0), dest: place(1, 4096), len: 1 }]))
    },
  ),

  defineCaseFor('two-domains', 601, 'the first failure in a segment is its status', async t => {
    if (!t.profile.hasGrantCopy) return
    const { region, place } = await twoPages(t)
    const other = await t.otherDomain()
    const ours = { domid: t.domid }
    const { ref } = await (await t.gntalloc({ on: await other.puppet() })).granted(ours)
    const d = await t.gntdev()
    // A page of another domain, which cannot be copied to, and one of ours behind it.
    const local = await t.memory(2)
    const { index } = await ok(d.map([{ domid: other.domid, ref }]))
    await d.region(index, 1, { at: local.address })
    await region.store(0, 1, 2, 3, 4)
    const dest = { address: local.address + PAGE_SIZE - 2 }
    const answer = await d.copy([{ source: place(0), dest, len: 4 }])
    assert.deepEqual(answer, { result: 0, statuses: [GNTST.bad_page] })
  }),

  defineCopying(602, 'a segment over two pages of memory is two operations of a batch', async t => {
    const { region, place } = await twoPages(t)
    await region.store(0, 1, 2)
    const d = await t.gntdev()
    const crossing = BATCH / 2 + 1
    const memory = await t.memory(2 * crossing)
    const ends = Array.from({ length: crossing }, (_, i) => (2 * i + 1) * PAGE_SIZE - 1)
    const good = ends.map(end => ({
      source: place(0),
      dest: { address: memory.address + end },
      len: 2,
    }))
    const bad = { source: memory, dest: memory, len: 1, flags: 0 }
    await refused('EINVAL', d.copy([...good, bad]))
    for (const [i, end] of ends.entries()) {
      const copied = i < BATCH / 2 ? [1, 2] : [0, 0]
      assert.deepEqual(await memory.bytes(end, 2), Uint8Array.from(copied), `segment ${i}`)
    }
  }),

  defineCopying(603, 'a segment of no bytes needs a grant like any other: EINVAL', async t => {
    const memory = await t.memory()
    await refused('EINVAL', (await t.gntdev()).copy([{ source: memory, dest: memory, len: 0 }]))
  }),

  defineCopying(604, 'a copy reaches the very page that its ref names', async t => {
    const { region, place } = await twoPages(t)
    const memory = await t.memory()
    const d = await t.gntdev()
    await memory.store(0, 5)
    await region.store(0, 7)
    const out = { source: memory, dest: place(1, 8), len: 1 }
    const back = { source: place(1, 8), dest: { address: memory.address + 1 }, len: 1 }
    assert.deepEqual(await d.copy([out, back]), { result: 0, statuses: [GNTST.okay, GNTST.okay] })
    assert.deepEqual(await memory.bytes(0, 2), Uint8Array.of(5, 5))
    assert.deepEqual([await region.byte(0), await region.byte(PAGE_SIZE + 8)], [7, 5])
  }),
]

const mappings: readonly ConformanceCase[] = [
  defineCase(608, 'an mmap of no bytes is EINVAL', async t => {
    const a = await t.gntalloc()
    await refused('EINVAL', a.mmap((await a.granted()).index, 0))
    const d = await t.gntdev()
    const map = await ok(d.map((await (await t.peerGntalloc()).granted()).grants))
    await refused('EINVAL', d.mmap(map.index, 0))
    await ok(d.mmap(map.index))
  }),

  defineCaseFor('pv', 609, 'mprotect of a PV mapping clears its byte, and no more', async t => {
    const { owner, d, index, region, bell } = await armedMap(t)
    await ok(region.protect(PROT_READ))
    assert.equal(await owner.byte(5), 0)
    await bell.expectSilence()
    await ok(region.munmap())
    await bell.expectSilence()
    await ok(d.unmap(index))
    await bell.expectOnce()
  }),

  defineCase(610, 'gntalloc and gntdev are always ready, for reading and writing', async t => {
    const always = { in: true, out: true, err: false }
    assert.deepEqual(await (await t.gntalloc()).poll(), always)
    assert.deepEqual(await (await t.gntdev()).poll(), always)
  }),

  defineCase(611, 'a ref of two mappings is not given again after the first is gone', async t => {
    const a = await t.peerGntalloc()
    const { index, ref, grants } = await a.granted()
    const d = await t.gntdev()
    const first = await d.mapped(grants)
    const second = await d.mapped(grants)
    await ok(first.region.munmap())
    await ok(d.unmap(first.index))
    await second.region.store(0, 9)
    await ok(a.dealloc(index))
    await t.settleDeferred()
    const next = await a.share()
    assert.notEqual(next.ref, ref)
    await next.region.store(0, 1)
    assert.equal(await second.region.byte(0), 9)
  }),
]

const mmapped: readonly ConformanceCase[] = [
  defineCase(615, 'pages of which one was deallocated are not mapped together', async t => {
    const a = await t.gntalloc()
    const { index } = await a.granted({ count: 2 })
    await ok(a.dealloc(index))
    await refused('ENOENT', a.mmap(index, 2))
    await ok(a.mmap(index + PAGE_SIZE))
  }),

  defineCase(617, 'a granter maps its read-only page writable after others mapped it', async t => {
    const a = await t.peerGntalloc()
    const { index, grants } = await a.granted({ flags: 0 })
    const d = await t.gntdev({ on: await t.puppet(1) })
    const { region: far } = await d.mapped(grants, { prot: PROT_READ })
    const near = await a.region(index)
    await near.store(3, 8)
    assert.equal(await far.byte(3), 8)
  }),
]

const ports: readonly ConformanceCase[] = [
  defineCase(616, 'NOTIFY of a port that was unbound is ENOTCONN', async t => {
    const { near, port } = await t.channel()
    await ok(near.unbind(port))
    await refused('ENOTCONN', near.notify(port))
  }),

  defineCase(605, 'the domain of BIND_INTERDOMAIN is narrowed to 16 bits', async t => {
    const port = await ok((await t.evtchn()).bindUnbound())
    const e = await t.evtchn()
    await e.expectEvents(await ok(e.bindInterdomain(port, t.domid + BEYOND_DOMID)))
  }),

  defineCase(607, 'UNBIND of a port that might exist is ENOTCONN', async t => {
    await refused('ENOTCONN', (await t.evtchn()).unbind(FREE_PORT))
  }),

  defineCase(612, 'a virq that was unbound can be bound again', async t => {
    const e = await t.evtchn()
    assert.equal(await e.unbind(await ok(e.bindVirq(IDLE_VIRQ))), 0)
    await ok(e.bindVirq(IDLE_VIRQ))
    await refused('EEXIST', e.bindVirq(IDLE_VIRQ))
  }),

  defineCase(613, 'of the ports that were freed the lowest is given first', async t => {
    const e = await t.evtchn()
    const p0 = await ok(e.bindUnbound())
    const p1 = await ok(e.bindUnbound())
    await ok(e.bindUnbound())
    assert.deepEqual([await e.unbind(p0), await e.unbind(p1)], [0, 0])
    assert.deepEqual([await e.bindUnbound(), await e.bindUnbound()], [p0, p1])
  }),

  defineCase(614, "NOTIFY does not reach what took the place of the peer's port", async t => {
    const { near, port, far, farPort } = await t.channel()
    // A second channel keeps whatever the two descriptors have in common.
    await t.channel(near, far)
    // Once before, so that whoever remembers the way to a peer has it.
    await ok(near.notify(port))
    await far.expectEvents(farPort)
    assert.equal(await far.unbind(farPort), 0)
    assert.equal(await far.bindUnbound(), farPort)
    assert.equal(await near.notify(port), 0)
    await far.expectSilence()
  }),

  defineCase(618, 'NOTIFY reaches whoever is bound to the port now', async t => {
    const { near, port, far, farPort } = await t.channel()
    await ok(near.notify(port))
    await far.expectEvents(farPort)
    // Another process, and a second channel of the first: what they had in common stays.
    await t.channel(near, far)
    assert.equal(await far.unbind(farPort), 0)
    const next = await t.evtchn({ on: await t.puppet(1) })
    const nextPort = await ok(next.bindInterdomain(port))
    await next.expectEvents(nextPort)
    await ok(near.notify(port))
    await next.expectEvents(nextPort)
    await far.expectSilence()
  }),
]

export const plantedBugs: readonly ConformanceCase[] = [
  ...copies,
  ...mappings,
  ...mmapped,
  ...ports,
]
