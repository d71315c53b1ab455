/** Section 7.10: SET_UNMAP_NOTIFY of gntdev, one notification per map. */
import assert from 'node:assert/strict'
import {
  UNMAP_NOTIFY_CLEAR_BYTE as CLEAR_BYTE,
  UNMAP_NOTIFY_SEND_EVENT as SEND_EVENT,
} from '../../abi/gntalloc.ts'
import { PROT_READ } from '../../abi/mman.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import type { CaseContext } from '../context.ts'
import type { Channel } from '../evtchn.ts'
import type { Gntdev } from '../gntdev.ts'
import type { Region } from '../region.ts'
import { ok, refused } from '../verdict.ts'

const BOTH = CLEAR_BYTE | SEND_EVENT
/** A bit that is no action. */
const NO_ACTION = 4
/** The byte that the cases below arm. */
const BYTE = 100

interface ArmedMap {
  readonly bell: Channel
  /** The granter's mapping: what the notification is for. */
  readonly ours: Region
  readonly d: Gntdev
  readonly index: number
  readonly region: Region
}

/** A mapped page whose byte is 7 and armed, as is the event. */
const armedMap = async (t: CaseContext): Promise<ArmedMap> => {
  const bell = await t.channel()
  const { grants, region: ours } = await (await t.peerGntalloc()).share()
  const d = await t.gntdev()
  const { index, region } = await d.mapped(grants)
  await ours.store(BYTE - 1, 7, 7, 7)
  await ok(d.setNotify(index + BYTE, BOTH, bell.port))
  return { bell, ours, d, index, region }
}

const setup: readonly ConformanceCase[] = [
  defineCase(151, 'the action is looked at before the map', async t => {
    await refused('EINVAL', (await t.gntdev()).setNotify(0, NO_ACTION))
  }),

  defineCase(152, 'the port is looked at before the map, where it is looked at', async t => {
    const e = await t.evtchn()
    const gone = await ok(e.bindUnbound())
    await ok(e.unbind(gone))
    const d = await t.gntdev()
    await refused(
      t.profile.holdsNotifyPorts ? 'EINVAL' : 'ENOENT',
      d.setNotify(0, SEND_EVENT, gone),
    )
    // A good port, so that only the map is missing.
    await refused('ENOENT', d.setNotify(0, SEND_EVENT, await ok(e.bindUnbound())))
  }),

  defineCase(153, 'no map can be armed where none is: ENOENT', async t => {
    await refused('ENOENT', (await t.gntdev()).setNotify(0, CLEAR_BYTE))
  }),

  defineCase(154, 'a map that was unmapped cannot be armed, though its mapping lives', async t => {
    const { grants } = await (await t.peerGntalloc()).granted()
    const d = await t.gntdev()
    const { index } = await d.mapped(grants)
    await ok(d.unmap(index))
    await refused('ENOENT', d.setNotify(index, CLEAR_BYTE))
  }),

  defineCase(155, 'the byte of a read-only mapping cannot be armed', async t => {
    const { grants } = await (await t.peerGntalloc()).granted()
    const d = await t.gntdev()
    const { index } = await d.mapped(grants, { prot: PROT_READ })
    await refused('EINVAL', d.setNotify(index, CLEAR_BYTE))
  }),

  defineCase(156, 'the event of a read-only mapping can be armed', async t => {
    const bell = await t.channel()
    const { grants } = await (await t.peerGntalloc()).granted()
    const d = await t.gntdev()
    const { index, region } = await d.mapped(grants, { prot: PROT_READ })
    await ok(d.setNotify(index, SEND_EVENT, bell.port))
    await ok(region.munmap())
    await bell.expectSilence()
    await ok(d.unmap(index))
    await bell.expectOnce()
  }),

  defineCase(165, 'any byte of a map names it, and the one behind does not', async t => {
    const d = await t.gntdev()
    const index = await d.mapAnything(2)
    await ok(d.setNotify(index + 2 * PAGE_SIZE - 1, 0))
    await refused('ENOENT', d.setNotify(index + 2 * PAGE_SIZE, 0))
  }),
]

const firing: readonly ConformanceCase[] = [
  defineCase(157, 'a map has one notification, whatever its pages', async t => {
    const { grants, region: ours } = await (await t.peerGntalloc()).share({ count: 2 })
    const d = await t.gntdev()
    const { index, region } = await d.mapped(grants)
    await ours.store(10, 1)
    await ours.store(PAGE_SIZE + 20, 2)
    await ok(d.setNotify(index + 10, CLEAR_BYTE))
    await ok(d.setNotify(index + PAGE_SIZE + 20, CLEAR_BYTE))
    await ok(d.unmap(index, 2))
    await ok(region.munmap())
    assert.deepEqual([await ours.byte(10), await ours.byte(PAGE_SIZE + 20)], [1, 0])
  }),

  defineCaseFor('hvm', 158, 'in HVM munmap alone fires nothing, and UNMAP both', async t => {
    const { bell, ours, d, index, region } = await armedMap(t)
    await ok(region.munmap())
    await bell.expectSilence()
    assert.deepEqual(await ours.bytes(BYTE - 1, 3), Uint8Array.of(7, 7, 7))
    await ok(d.unmap(index))
    await bell.expectOnce()
    assert.deepEqual(await ours.bytes(BYTE - 1, 3), Uint8Array.of(7, 0, 7))
  }),

  defineCaseFor(
    'pv',
    159,
    'in PV munmap alone clears the byte, and UNMAP sends the event',
    async t => {
      const { bell, ours, d, index, region } = await armedMap(t)
      await ok(region.munmap())
      assert.deepEqual(await ours.bytes(BYTE - 1, 3), Uint8Array.of(7, 0, 7))
      await bell.expectSilence()
      await ok(d.unmap(index))
      await bell.expectOnce()
    },
  ),

  defineCase(160, 'munmap after UNMAP fires both', async t => {
    const { bell, ours, d, index, region } = await armedMap(t)
    await ok(d.unmap(index))
    await bell.expectSilence()
    assert.equal(await ours.byte(BYTE), 7)
    await ok(region.munmap())
    await bell.expectOnce()
    assert.deepEqual(await ours.bytes(BYTE - 1, 3), Uint8Array.of(7, 0, 7))
  }),

  defineCase(161, 'UNMAP of a map that was never mmapped sends its event', async t => {
    const bell = await t.channel()
    const d = await t.gntdev()
    const index = await d.mapAnything()
    await ok(d.setNotify(index, SEND_EVENT, bell.port))
    await bell.expectSilence()
    await ok(d.unmap(index))
    await bell.expectOnce()
  }),

  defineCase(162, 'whoever sees the event of an unmap sees the byte cleared', async t => {
    const { bell, ours, d, index, region } = await armedMap(t)
    await ok(d.unmap(index))
    await ok(region.munmap())
    await bell.far.expectEvents(bell.farPort)
    assert.equal(await ours.byte(BYTE), 0)
  }),

  defineCase(163, 'SIGKILL of the mapper clears the byte and sends the event', async t => {
    const bell = await t.channel()
    const { grants, region: ours } = await (await t.peerGntalloc()).share()
    const victim = await t.disposable()
    const d = await t.gntdev({ on: victim })
    const { index, region } = await d.mapped(grants)
    await region.store(BYTE, 7)
    await ok(d.setNotify(index + BYTE, BOTH, bell.port))
    await victim.kill()
    await bell.expectOnce()
    assert.equal(await ours.byte(BYTE), 0)
  }),

  defineCase(164, 'action 0 disarms a map', async t => {
    const { bell, ours, d, index, region } = await armedMap(t)
    await ok(d.setNotify(index, 0))
    await ok(d.unmap(index))
    await ok(region.munmap())
    await bell.expectSilence()
    assert.equal(await ours.byte(BYTE), 7)
  }),
]

export const gntdevNotify: readonly ConformanceCase[] = [...setup, ...firing]
