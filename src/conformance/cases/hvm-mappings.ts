/**
 * Section 7.14: mappings of gntdev in an HVM domain. They need another domain whose pages it maps,
 * since a grant to itself would take its own page away.
 */
import assert from 'node:assert/strict'
import {
  UNMAP_NOTIFY_CLEAR_BYTE as CLEAR_BYTE,
  UNMAP_NOTIFY_SEND_EVENT as SEND_EVENT,
  GNTALLOC_FLAG_WRITABLE as WRITABLE,
} from '../../abi/gntalloc.ts'
import { GNTST } from '../../abi/grant-table.ts'
import { MADV_DONTNEED, PROT_NONE, PROT_READ } from '../../abi/mman.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { ARMED_BYTE, type ArmedMap, armedMap } from '../armed.ts'
import { expectBuffer } from '../buffers.ts'
import { type ConformanceCase, defineCaseFor } from '../case.ts'
import type { CaseContext } from '../context.ts'
import { PROT_RW } from '../region.ts'
import { futexWait, madvise, move, sendSigio } from '../system-calls.ts'
import { ok, refused } from '../verdict.ts'

/** The byte that `armedMap` arms. */
const BYTE = 5

async function expectUntouched({ owner, bell }: ArmedMap): Promise<void> {
  await bell.expectSilence()
  assert.equal(await owner.byte(BYTE), ARMED_BYTE)
}

async function expectFired({ owner, bell }: ArmedMap): Promise<void> {
  await bell.expectOnce()
  assert.equal(await owner.byte(BYTE), 0)
}

/** A grant mapped with less than it is then made to allow: what is stored there is lost. */
async function expectLost(t: CaseContext, flags: number, prot: number): Promise<void> {
  const { grants, region: owner } = await (await t.peerGntalloc()).share({ flags })
  await owner.store(0, 3)
  const { region } = await (await t.gntdev()).mapped(grants, { prot })
  assert.equal(await region.protect(PROT_RW), 0)
  await region.store(0, 4)
  assert.equal(await owner.byte(0), 3)
  assert.equal(await region.byte(0), 3)
  await owner.store(0, 5)
  assert.equal(await region.byte(0), 5)
}

const released: readonly ConformanceCase[] = [
  defineCaseFor('hvm', 310, 'pages of one HVM mapping are released together, by UNMAP', async t => {
    const armed = await armedMap(t, { pages: 2 })
    const { owner, d, index, region } = armed
    await ok(region.part(0, 1).munmap())
    await expectUntouched(armed)
    await region.store(PAGE_SIZE, 3)
    assert.equal(await owner.byte(PAGE_SIZE), 3)
    await ok(region.part(1, 1).munmap())
    await expectUntouched(armed)
    await ok(d.unmap(index, 2))
    await expectFired(armed)
  }),

  defineCaseFor('hvm', 311, 'memory put over an HVM mapping fires at UNMAP', async t => {
    const armed = await armedMap(t)
    await ok(armed.region.replace())
    await expectUntouched(armed)
    await ok(armed.d.unmap(armed.index))
    await expectFired(armed)
  }),

  defineCaseFor(['hvm', 'fork'], 317, 'an HVM mapping fires when no process has it', async t => {
    const on = await t.able()
    const armed = await armedMap(t, { on })
    const child = await on.fork()
    await ok(armed.region.munmap())
    await ok(armed.d.unmap(armed.index))
    if (t.profile.inheritsMappings) await expectUntouched(armed)
    else await expectFired(armed)
    await child.exit()
    if (t.profile.inheritsMappings) await expectFired(armed)
  }),

  defineCaseFor('hvm', 323, 'a byte armed before a read-only HVM mapping stays', async t => {
    const { grants, region: owner } = await (await t.peerGntalloc()).share()
    await owner.store(BYTE, ARMED_BYTE)
    const d = await t.gntdev()
    const { index } = await ok(d.map(grants))
    await ok(d.setNotify(index + BYTE, CLEAR_BYTE))
    const region = await d.region(index, 1, { prot: PROT_READ })
    assert.equal(await region.munmap(), 0)
    assert.equal(await d.unmap(index), 0)
    assert.equal(await owner.byte(BYTE), ARMED_BYTE)
  }),
]

const looked: readonly ConformanceCase[] = [
  defineCaseFor(
    ['hvm', 'signal'],
    340,
    'whom the event interrupts finds the byte cleared, but in 2011',
    async t => {
      const on = await t.able()
      const bell = await t.channel(undefined, await t.evtchn({ on }))
      const { grants, region: owner } = await (await t.peerGntalloc()).share()
      const { region: watched } = await (await t.gntdev({ on })).mapped(grants)
      const d = await t.gntdev()
      const { index, region } = await d.mapped(grants)
      await owner.store(BYTE, ARMED_BYTE)
      await ok(d.setNotify(index + BYTE, CLEAR_BYTE | SEND_EVENT, bell.port))
      await sendSigio(bell.far)
      await on.watch(watched.address + BYTE)
      await ok(region.munmap())
      await ok(d.unmap(index))
      await bell.far.arrival()
      assert.equal(await on.seen(), t.profile.clearsByteFirst ? 0 : ARMED_BYTE)
      assert.equal(await owner.byte(BYTE), 0)
    },
  ),
]

const protectedOrMoved: readonly ConformanceCase[] = [
  defineCaseFor('hvm', 312, 'mprotect of an HVM mapping does what it says', async t => {
    const armed = await armedMap(t)
    const { owner, region } = armed
    assert.equal(await region.protect(PROT_READ), 0)
    assert.equal(await region.byte(BYTE), ARMED_BYTE)
    assert.equal(await region.protect(PROT_RW), 0)
    await region.store(0, 3)
    assert.equal(await owner.byte(0), 3)
    await expectUntouched(armed)
  }),

  defineCaseFor(['hvm', 'remap'], 313, 'an HVM mapping goes on where it was moved to', async t => {
    const on = await t.able()
    const armed = await armedMap(t, { on })
    const moved = await move(armed.region, await t.memory(1, on))
    assert.equal(await moved.byte(BYTE), ARMED_BYTE)
    await ok(moved.munmap())
    await expectUntouched(armed)
    await ok(armed.d.unmap(armed.index))
    await expectFired(armed)
  }),

  defineCaseFor(['hvm', 'remap'], 314, 'MADV_DONTNEED leaves an HVM grant mapped', async t => {
    const armed = await armedMap(t, { on: await t.able() })
    const { mapsBareFrames } = t.profile
    if (mapsBareFrames) await refused('EINVAL', madvise(armed.region, MADV_DONTNEED))
    else assert.equal(await madvise(armed.region, MADV_DONTNEED), 0)
    await expectUntouched(armed)
    assert.equal(await armed.region.load(BYTE), mapsBareFrames ? ARMED_BYTE : 'SIGBUS')
    assert.equal(await armed.region.munmap(), 0)
    await ok(armed.d.unmap(armed.index))
    await expectFired(armed)
  }),

  defineCaseFor('hvm', 319, 'stores to an HVM mapping made without access are lost', async t => {
    await expectLost(t, WRITABLE, PROT_NONE)
  }),

  defineCaseFor('hvm', 322, 'stores to a read-only grant in an HVM mapping are lost', async t => {
    await expectLost(t, 0, PROT_READ)
  }),
]

const used: readonly ConformanceCase[] = [
  defineCaseFor(['hvm', 'remap'], 315, 'only a private futex works in an HVM mapping', async t => {
    const { region } = await armedMap(t, { on: await t.able() })
    await refused('EFAULT', futexWait(region, 'shared'))
    await refused('ETIMEDOUT', futexWait(region, 'private'))
  }),

  defineCaseFor(
    ['hvm', 'remap'],
    316,
    'an HVM mapping is a buffer as any, except for msync and GRANT_COPY',
    async t => {
      const { d, region } = await armedMap(t, { pages: 2, on: await t.able() })
      await expectBuffer(t, region.part(0, 1), region.part(1, 1))
      if (!t.profile.hasGrantCopy) return
      const { ref } = await (await t.gntalloc()).granted({ domid: t.domid })
      const source = { domid: t.domid, ref, offset: 0 }
      const answer = await d.copy([{ source, dest: { address: region.address }, len: 8 }])
      assert.deepEqual(answer, { result: 0, statuses: [GNTST.bad_page] })
    },
  ),

  defineCaseFor('hvm', 318, 'a piece of an HVM mapping tells of the whole', async t => {
    const { grants } = await (await t.peerGntalloc()).granted({ count: 2 })
    const d = await t.gntdev()
    await d.mapAnything()
    const { index, region } = await d.mapped(grants)
    await ok(region.part(0, 1).munmap())
    const whole = { result: 0, offset: index, count: 2 }
    assert.deepEqual(await d.offsetFor(region.part(1, 1).address), whole)
    assert.deepEqual(await d.offsetFor(region.address), whole)
  }),
]

export const hvmMappings: readonly ConformanceCase[] = [
  ...released,
  ...looked,
  ...protectedOrMoved,
  ...used,
]
