/** Section 7.12, first part: bind, notify, read, write, unbind. */
import assert from 'node:assert/strict'
import { type ConformanceCase, defineCase } from '../case.ts'
import { KERNEL_PORT } from '../nonsense.ts'
import { ok, refused } from '../verdict.ts'

export const evtchnBasic: readonly ConformanceCase[] = [
  defineCase(185, 'BIND_UNBOUND_PORT answers a port', async t => {
    assert.ok((await ok((await t.evtchn()).bindUnbound())) > 0)
  }),

  defineCase(186, 'BIND_INTERDOMAIN answers another port', async t => {
    const p = await ok((await t.evtchn()).bindUnbound())
    const q = await ok((await t.evtchn()).bindInterdomain(p))
    assert.ok(q > 0)
    assert.notEqual(q, p)
  }),

  defineCase(187, 'the side that binds to the other has an event at once', async t => {
    const near = await t.evtchn()
    const far = await t.evtchn()
    const q = await ok(far.bindInterdomain(await ok(near.bindUnbound())))
    await far.expectEvents(q)
    await near.expectSilence()
  }),

  defineCase(188, 'NOTIFY makes the other end readable', async t => {
    const { near, port, far, farPort } = await t.channel()
    await ok(near.notify(port))
    assert.deepEqual(await far.events(), [farPort])
  }),

  defineCase(189, 'notifications merge until the port is written back', async t => {
    const { near, port, far, farPort } = await t.channel()
    await ok(near.notify(port))
    assert.deepEqual(await far.events(), [farPort])
    for (let i = 0; i < 3; i++) await ok(near.notify(port))
    await far.expectSilence()
    await ok(far.writePorts(farPort))
    await far.expectEvents(farPort)
    await far.expectSilence()
  }),

  defineCase(190, 'one read answers several ports, oldest first', async t => {
    const first = await t.channel()
    const second = await t.channel(first.near, first.far)
    await ok(second.near.notify(second.port))
    await ok(first.near.notify(first.port))
    await t.settleEvents()
    const { result, ports } = await first.far.readPorts(8)
    assert.equal(result, 8)
    assert.deepEqual(ports, [second.farPort, first.farPort])
  }),

  defineCase(191, 'a read of an empty non-blocking descriptor is EAGAIN', async t => {
    await refused('EAGAIN', (await t.evtchn()).readPorts(4))
  }),

  defineCase(192, 'a read is cut to whole ports', async t => {
    const { near, port, far, farPort } = await t.channel()
    await ok(near.notify(port))
    await t.settleEvents()
    assert.equal((await far.readPorts(3)).result, 0)
    assert.deepEqual(await far.readPorts(7), { result: 4, ports: [farPort] })
  }),

  defineCase(193, 'a write of a port that is not ours is ignored', async t => {
    assert.equal(await (await t.evtchn()).writePorts(KERNEL_PORT), 4)
  }),

  defineCase(194, 'a write is cut to whole ports', async t => {
    const e = await t.evtchn()
    assert.equal(await e.write(new Uint8Array(3)), 0)
    assert.equal(await e.write(new Uint8Array(6)), 4)
  }),

  defineCase(195, 'UNBIND of a port that is not bound here is ENOTCONN', async t => {
    const e = await t.evtchn()
    await refused('ENOTCONN', e.unbind(KERNEL_PORT))
    const port = await ok(e.bindUnbound())
    assert.equal(await e.unbind(port), 0)
    await refused('ENOTCONN', e.unbind(port))
  }),

  defineCase(196, 'UNBIND of a port above the channel maximum is EINVAL', async t => {
    await refused('EINVAL', (await t.evtchn()).unbind(0xffffffff))
  }),

  defineCase(197, 'NOTIFY of a port that is not bound here is ENOTCONN', async t => {
    await refused('ENOTCONN', (await t.evtchn()).notify(KERNEL_PORT))
  }),

  defineCase(198, 'a port belongs to its descriptor', async t => {
    const port = await ok((await t.evtchn()).bindUnbound())
    const other = await t.evtchn()
    await refused('ENOTCONN', other.notify(port))
    await refused('ENOTCONN', other.unbind(port))
  }),

  defineCase(199, 'NOTIFY of a port without a peer is dropped', async t => {
    const e = await t.evtchn()
    assert.equal(await e.notify(await ok(e.bindUnbound())), 0)
    await e.expectSilence()
  }),

  defineCase(200, 'a peer that unbinds is not noticed', async t => {
    const { near, port, far, farPort } = await t.channel()
    await ok(far.unbind(farPort))
    await near.expectSilence()
    assert.equal(await near.notify(port), 0)
  }),
]
