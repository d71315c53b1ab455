/** Section 7.5: SET_UNMAP_NOTIFY of gntalloc, one notification per page. */
import assert from 'node:assert/strict'
import {
  UNMAP_NOTIFY_CLEAR_BYTE as CLEAR_BYTE,
  UNMAP_NOTIFY_SEND_EVENT as SEND_EVENT,
} from '../../abi/gntalloc.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import { KERNEL_PORT } from '../nonsense.ts'
import { sendSigio } from '../system-calls.ts'
import { ok, refused } from '../verdict.ts'

const BOTH = CLEAR_BYTE | SEND_EVENT
/** A bit that is no action. */
const NO_ACTION = 4

const setup: readonly ConformanceCase[] = [
  defineCase(68, 'no page can be armed where none is: ENOENT', async t => {
    const a = await t.gntalloc()
    await refused('ENOENT', a.setNotify(0, CLEAR_BYTE))
    const { index } = await a.granted()
    await refused('ENOENT', a.setNotify(index + PAGE_SIZE, CLEAR_BYTE))
  }),

  defineCase(69, 'the page is looked up before the action', async t => {
    await refused('ENOENT', (await t.gntalloc()).setNotify(0, 8))
  }),

  defineCase(70, 'an unknown action is EINVAL', async t => {
    const a = await t.gntalloc()
    const { index } = await a.granted()
    await refused('EINVAL', a.setNotify(index, NO_ACTION))
    await refused('EINVAL', a.setNotify(index, NO_ACTION | CLEAR_BYTE))
  }),

  defineCase(
    71,
    'a port that no evtchn descriptor bound is EINVAL, where ports are looked at',
    async t => {
      const a = await t.gntalloc()
      const e = await t.evtchn()
      const { index } = await a.granted()
      const gone = await ok(e.bindUnbound())
      await ok(e.unbind(gone))
      for (const port of [gone, KERNEL_PORT, 0, 0xffffffff]) {
        const answer = a.setNotify(index, SEND_EVENT, port)
        if (t.profile.holdsNotifyPorts) await refused('EINVAL', answer)
        else await ok(answer)
      }
    },
  ),

  defineCase(72, 'the port of another process will do', async t => {
    const a = await t.gntalloc()
    const theirs = await t.evtchn({ on: await t.puppet(1) })
    const port = await ok(theirs.bindUnbound())
    await ok(a.setNotify((await a.granted()).index, SEND_EVENT, port))
  }),

  defineCase(85, 'a page that the peer may only read can be armed', async t => {
    const a = await t.gntalloc()
    await ok(a.setNotify((await a.granted({ flags: 0 })).index, CLEAR_BYTE))
  }),
]

const bytes: readonly ConformanceCase[] = [
  defineCase(73, 'DEALLOC clears the armed byte, and no other, for the peer', async t => {
    const a = await t.gntalloc()
    const { index, grants } = await a.granted()
    const { region } = await (await t.peerGntdev()).mapped(grants)
    await region.store(99, 7, 7, 7)
    await ok(a.setNotify(index + 100, CLEAR_BYTE))
    await ok(a.dealloc(index))
    assert.deepEqual(await region.bytes(99, 3), Uint8Array.of(7, 0, 7))
  }),

  defineCase(74, 'the byte of a mapped page is cleared at munmap, not at DEALLOC', async t => {
    const a = await t.gntalloc()
    const { index, grants, region } = await a.share()
    const { region: theirs } = await (await t.peerGntdev()).mapped(grants)
    await theirs.store(99, 7, 7, 7)
    await ok(a.setNotify(index + 100, CLEAR_BYTE))
    await ok(a.dealloc(index))
    assert.deepEqual(await theirs.bytes(99, 3), Uint8Array.of(7, 7, 7))
    await ok(region.munmap())
    assert.deepEqual(await theirs.bytes(99, 3), Uint8Array.of(7, 0, 7))
  }),

  defineCase(75, 'munmap alone fires nothing', async t => {
    const bell = await t.channel()
    const a = await t.gntalloc()
    const { index, grants, region } = await a.share()
    const { region: theirs } = await (await t.peerGntdev()).mapped(grants)
    await theirs.store(0, 7)
    await ok(a.setNotify(index, BOTH, bell.port))
    await ok(region.munmap())
    await bell.expectSilence()
    assert.equal(await theirs.byte(0), 7)
  }),

  defineCase(76, 'a page has one notification, and the last one set counts', async t => {
    const a = await t.gntalloc()
    const { index, grants } = await a.granted()
    const { region } = await (await t.peerGntdev()).mapped(grants)
    await region.store(10, 1)
    await region.store(20, 2)
    await ok(a.setNotify(index + 10, CLEAR_BYTE))
    await ok(a.setNotify(index + 20, CLEAR_BYTE))
    await ok(a.dealloc(index))
    assert.deepEqual([await region.byte(10), await region.byte(20)], [1, 0])
  }),

  defineCase(77, 'action 0 disarms', async t => {
    const bell = await t.channel()
    const a = await t.gntalloc()
    const { index, grants } = await a.granted()
    const { region } = await (await t.peerGntdev()).mapped(grants)
    await region.store(10, 1)
    await ok(a.setNotify(index + 10, BOTH, bell.port))
    await ok(a.setNotify(index + 10, 0))
    await ok(a.dealloc(index))
    await bell.expectSilence()
    assert.equal(await region.byte(10), 1)
  }),

  defineCase(78, 'each page of an allocation has its own notification', async t => {
    const a = await t.gntalloc()
    const { index, grants } = await a.granted({ count: 2 })
    const { region } = await (await t.peerGntdev()).mapped(grants)
    await region.store(10, 1, 1)
    await region.store(PAGE_SIZE + 20, 2, 2)
    await ok(a.setNotify(index + 10, CLEAR_BYTE))
    await ok(a.setNotify(index + PAGE_SIZE + 20, CLEAR_BYTE))
    await ok(a.dealloc(index, 2))
    assert.deepEqual(await region.bytes(10, 2), Uint8Array.of(0, 1))
    assert.deepEqual(await region.bytes(PAGE_SIZE + 20, 2), Uint8Array.of(0, 2))
  }),

  defineCase(86, 'a notification that was refused leaves the one before it armed', async t => {
    const a = await t.gntalloc()
    const e = await t.evtchn()
    const { index, grants } = await a.granted()
    const { region } = await (await t.peerGntdev()).mapped(grants)
    await region.store(10, 1)
    await ok(a.setNotify(index + 10, CLEAR_BYTE))
    const gone = await ok(e.bindUnbound())
    await ok(e.unbind(gone))
    const refusedPort = a.setNotify(index + 20, SEND_EVENT, gone)
    if (t.profile.holdsNotifyPorts) await refused('EINVAL', refusedPort)
    else await ok(refusedPort)
    await ok(a.dealloc(index))
    assert.equal(await region.byte(10), t.profile.holdsNotifyPorts ? 0 : 1)
  }),

  defineCase(87, 'a page that was deallocated while mapped cannot be disarmed', async t => {
    const a = await t.gntalloc()
    const { index, grants, region } = await a.share()
    const { region: theirs } = await (await t.peerGntdev()).mapped(grants)
    await theirs.store(0, 1)
    await ok(a.setNotify(index, CLEAR_BYTE))
    await ok(a.dealloc(index))
    await refused('ENOENT', a.setNotify(index, 0))
    await ok(region.munmap())
    assert.equal(await theirs.byte(0), 0)
  }),
]

const events: readonly ConformanceCase[] = [
  defineCase(79, 'DEALLOC sends the armed event exactly once', async t => {
    const bell = await t.channel()
    const a = await t.gntalloc()
    const { index } = await a.granted()
    await ok(a.setNotify(index, SEND_EVENT, bell.port))
    await bell.expectSilence()
    await ok(a.dealloc(index))
    await bell.expectOnce()
  }),

  defineCase(80, 'whoever sees the event of a DEALLOC sees the byte cleared', async t => {
    const bell = await t.channel()
    const a = await t.gntalloc()
    const { index, grants } = await a.granted()
    const { region } = await (await t.peerGntdev()).mapped(grants)
    await region.store(0, 7)
    await ok(a.setNotify(index, BOTH, bell.port))
    await ok(a.dealloc(index))
    await bell.far.expectEvents(bell.farPort)
    assert.equal(await region.byte(0), 0)
  }),

  defineCase(81, 'an armed port outlives its descriptor, where it is held', async t => {
    const bell = await t.channel()
    const a = await t.gntalloc()
    const { index } = await a.granted()
    await ok(a.setNotify(index, SEND_EVENT, bell.port))
    await bell.near.close()
    await bell.expectSilence()
    await ok(a.dealloc(index))
    if (t.profile.holdsNotifyPorts) await bell.expectOnce()
    else await bell.expectSilence()
  }),

  defineCase(
    404,
    'an event goes to whom it was meant for, or to who has its port by now',
    async t => {
      const first = await t.channel()
      const a = await t.gntalloc()
      const { index } = await a.granted()
      await ok(a.setNotify(index, SEND_EVENT, first.port))
      await ok(first.near.unbind(first.port))
      const second = await t.channel(first.near)
      const isHeld = t.profile.holdsNotifyPorts
      assert.equal(second.port === first.port, !isHeld)
      await ok(a.dealloc(index))
      if (isHeld) await first.expectOnce()
      else await first.expectSilence()
      if (isHeld) await second.expectSilence()
      else await second.expectOnce()
    },
  ),

  defineCase(82, 'a port that only a notification held is closed when it is disarmed', async t => {
    const bell = await t.channel()
    const a = await t.gntalloc()
    const { index } = await a.granted()
    await ok(a.setNotify(index, SEND_EVENT, bell.port))
    await bell.near.close()
    // Still connected where it is held, so that nobody else can bind to the far end.
    const e = await t.evtchn()
    if (t.profile.holdsNotifyPorts) await refused('EINVAL', e.bindInterdomain(bell.farPort))
    await ok(a.setNotify(index, 0))
    await bell.expectSilence()
    await ok(e.bindInterdomain(bell.farPort))
  }),

  defineCase(83, 'SIGKILL of the owner clears the byte and sends the event', async t => {
    const bell = await t.channel()
    const victim = await t.disposable()
    const a = await t.gntalloc({ on: victim })
    const { index, grants } = await a.granted()
    const { region } = await (await t.peerGntdev()).mapped(grants)
    await region.store(5, 7)
    await ok(a.setNotify(index + 5, BOTH, bell.port))
    await victim.kill()
    await bell.expectOnce()
    assert.equal(await region.byte(5), 0)
  }),

  defineCaseFor('fork', 84, 'what a forked child inherited fires when the child exits', async t => {
    const bell = await t.channel()
    const on = await t.able()
    const a = await t.gntalloc({ on })
    const { index, grants } = await a.granted()
    const { region } = await (await t.peerGntdev()).mapped(grants)
    await region.store(5, 7)
    await ok(a.setNotify(index + 5, BOTH, bell.port))
    const child = await on.fork()
    await on.exit()
    await bell.expectSilence()
    assert.equal(await region.byte(5), 7)
    await child.exit()
    await bell.expectOnce()
    assert.equal(await region.byte(5), 0)
  }),

  defineCase(88, 'close fires what was armed and never mapped', async t => {
    const bell = await t.channel()
    const a = await t.gntalloc()
    const { index } = await a.granted()
    await ok(a.setNotify(index, BOTH, bell.port))
    await a.close()
    await bell.expectOnce()
  }),

  defineCaseFor(
    ['pv', 'signal'],
    341,
    'whom the event of a DEALLOC interrupts finds the byte cleared',
    async t => {
      const on = await t.able()
      const bell = await t.channel(undefined, await t.evtchn({ on }))
      const a = await t.gntalloc()
      const { index, grants } = await a.granted()
      const { region } = await (await t.gntdev({ on })).mapped(grants)
      await region.store(5, 7)
      await ok(a.setNotify(index + 5, BOTH, bell.port))
      await sendSigio(bell.far)
      await on.watch(region.address + 5)
      await ok(a.dealloc(index))
      await bell.far.arrival()
      assert.equal(await on.seen(), 0)
    },
  ),
]

export const gntallocNotify: readonly ConformanceCase[] = [...setup, ...bytes, ...events]
