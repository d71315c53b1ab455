/** Section 7.12, second part, and its later additions: which ports are given, and to whom. */
import assert from 'node:assert/strict'
import { DOMID_SELF } from '../../abi/domid.ts'
import { NR_VIRQS, VIRQ_TIMER } from '../../abi/event-channel.ts'
import { EVTCHN_BIND_VIRQ } from '../../abi/evtchn.ts'
import { UNMAP_NOTIFY_SEND_EVENT as SEND_EVENT } from '../../abi/gntalloc.ts'
import { type CaseBody, type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import type { CaseContext } from '../context.ts'
import type { Evtchn } from '../evtchn.ts'
import { KERNEL_PORT, NO_SUCH_DOMAIN, NOWHERE } from '../nonsense.ts'
import { ok, refused } from '../verdict.ts'

const PERMITTED = 5

/** A case about RESTRICT_DOMID: a kernel without it says so, and no more. */
const defineRestricting = (id: number, title: string, body: CaseBody): ConformanceCase =>
  defineCase(id, title, async t => {
    if (t.profile.hasRestrictDomid) return body(t)
    await refused('ENOSYS', (await t.evtchn()).restrict(PERMITTED))
  })

async function restricted(t: CaseContext): Promise<Evtchn> {
  const e = await t.evtchn()
  assert.equal(await e.restrict(PERMITTED), 0)
  return e
}

const connecting: readonly ConformanceCase[] = [
  defineCase(201, 'a port whose peer unbound can be bound to again', async t => {
    const { port, far, farPort } = await t.channel()
    await ok(far.unbind(farPort))
    await far.expectEvents(await ok(far.bindInterdomain(port)))
  }),

  defineCase(202, 'a port that is connected cannot be bound to: EINVAL', async t => {
    const { port } = await t.channel()
    await refused('EINVAL', (await t.evtchn()).bindInterdomain(port))
  }),

  defineCase(203, 'a port reserved for another domain cannot be bound to: EINVAL', async t => {
    const port = await ok((await t.evtchn()).bindUnbound(t.domid + 1))
    await refused('EINVAL', (await t.evtchn()).bindInterdomain(port))
  }),

  defineCase(204, 'BIND_INTERDOMAIN to a domain that does not exist is ESRCH', async t => {
    await refused('ESRCH', (await t.evtchn()).bindInterdomain(KERNEL_PORT, NO_SUCH_DOMAIN))
  }),

  defineCase(205, 'a port may be reserved for a domain that does not exist', async t => {
    assert.ok((await ok((await t.evtchn()).bindUnbound(NO_SUCH_DOMAIN))) > 0)
  }),

  defineCase(206, 'both ends of a loopback channel may name DOMID_SELF', async t => {
    const near = await t.evtchn()
    const far = await t.evtchn()
    const port = await ok(near.bindUnbound(DOMID_SELF))
    const farPort = await ok(far.bindInterdomain(port, DOMID_SELF))
    await far.expectEvents(farPort)
    await ok(near.notify(port))
    await far.expectEvents(farPort)
    await ok(far.notify(farPort))
    await near.expectEvents(port)
  }),

  defineCase(207, 'BIND_VIRQ of a number that no virq has is EINVAL', async t => {
    await refused('EINVAL', (await t.evtchn()).bindVirq(NR_VIRQS))
  }),

  defineCase(208, 'BIND_VIRQ of a virq that is bound already is EEXIST', async t => {
    await refused('EEXIST', (await t.evtchn()).bindVirq(VIRQ_TIMER))
  }),

  defineCase(221, 'NOTIFY after the peer closed its descriptor is 0 and dropped', async t => {
    const { near, port, far } = await t.channel()
    await far.close()
    assert.equal(await near.notify(port), 0)
    await near.expectSilence()
  }),

  defineCase(225, 'BIND_STATIC of a port that is bound here is EISCONN', async t => {
    const e = await t.evtchn()
    const again = e.bindStatic(await ok(e.bindUnbound()))
    await refused(t.profile.hasBindStatic ? 'EISCONN' : 'ENOSYS', again)
  }),
]

const restricting: readonly ConformanceCase[] = [
  defineRestricting(209, 'RESTRICT_DOMID to domain 0 or to a reserved id is EINVAL', async t => {
    const e = await t.evtchn()
    await refused('EINVAL', e.restrict(0))
    await refused('EINVAL', e.restrict(DOMID_SELF))
    await ok(e.bindUnbound())
  }),

  defineRestricting(
    210,
    'a descriptor is restricted once, even to the same domain: EACCES',
    async t => {
      await refused('EACCES', (await restricted(t)).restrict(PERMITTED))
    },
  ),

  defineRestricting(211, 'BIND_UNBOUND_PORT of a restricted descriptor is EACCES', async t => {
    await refused('EACCES', (await restricted(t)).bindUnbound(PERMITTED))
  }),

  defineRestricting(212, 'BIND_INTERDOMAIN to another domain than permitted is EACCES', async t => {
    await refused('EACCES', (await restricted(t)).bindInterdomain(KERNEL_PORT, PERMITTED + 1))
  }),

  defineRestricting(213, 'BIND_VIRQ looks at the restriction before its argument', async t => {
    await refused('EACCES', (await restricted(t)).ioctlAt(EVTCHN_BIND_VIRQ, NOWHERE))
  }),

  defineRestricting(214, 'ports bound before a restriction go on working', async t => {
    const channel = await t.channel()
    assert.equal(await channel.near.restrict(PERMITTED), 0)
    assert.equal(await channel.near.notify(channel.port), 0)
    await channel.expectOnce()
    assert.equal(await channel.near.unbind(channel.port), 0)
  }),
]

const numbering: readonly ConformanceCase[] = [
  defineCase(224, 'the lowest free port is given', async t => {
    const e = await t.evtchn()
    const freed = await ok(e.bindUnbound())
    await ok(e.bindUnbound())
    await ok(e.unbind(freed))
    assert.equal(await e.bindUnbound(), freed)
  }),

  defineCase(229, 'freed ports come back lowest first, not last freed first', async t => {
    const e = await t.evtchn()
    const p0 = await ok(e.bindUnbound())
    const p1 = await ok(e.bindUnbound())
    const p2 = await ok(e.bindUnbound())
    assert.ok(p0 < p1 && p1 < p2)
    await ok(e.unbind(p1))
    await ok(e.unbind(p0))
    assert.deepEqual([await e.bindUnbound(), await e.bindUnbound()], [p0, p1])
  }),

  defineCase(235, 'a port is not given again as long as a notification holds it', async t => {
    const e = await t.evtchn()
    const a = await t.gntalloc()
    const { index } = await a.granted()
    const held = await ok(e.bindUnbound())
    await ok(a.setNotify(index, SEND_EVENT, held))
    assert.equal(await e.unbind(held), 0)
    assert.equal((await ok(e.bindUnbound())) === held, !t.profile.holdsNotifyPorts)
    await ok(a.setNotify(index, 0))
    if (t.profile.holdsNotifyPorts) assert.equal(await e.bindUnbound(), held)
  }),
]

const descriptors: readonly ConformanceCase[] = [
  defineCase(252, 'a descriptor may be bound and notified through in any access mode', async t => {
    const reading = await t.channel(await t.evtchn({ access: 'read' }))
    assert.equal(await reading.near.notify(reading.port), 0)
    await reading.expectOnce()
    await refused('EBADF', reading.near.writePorts(reading.port))

    const writing = await t.evtchn({ access: 'write' })
    const port = await ok(writing.bindUnbound())
    await refused('EBADF', writing.read(4))
    assert.equal(await writing.writePorts(port), 4)
  }),

  defineCase(254, 'a port outlives the descriptor that bound it in a copy of it', async t => {
    const { near, port, far, farPort } = await t.channel()
    const copy = await near.dup()
    await near.close()
    assert.equal(await copy.notify(port), 0)
    await far.expectEvents(farPort)
  }),

  defineCaseFor('fork', 255, 'a port outlives its descriptor in a forked child', async t => {
    const on = await t.able()
    const { near, port, far, farPort } = await t.channel(await t.evtchn({ on }))
    const child = await on.fork()
    await ok(near.in(child).notify(port))
    await far.expectEvents(farPort)
    await near.close()
    const e = await t.evtchn()
    await refused('EINVAL', e.bindInterdomain(farPort))
    await child.exit()
    assert.ok((await ok(e.bindInterdomain(farPort))) > 0)
  }),

  defineCase(263, 'both ends of a channel may be bound on one descriptor', async t => {
    const e = await t.evtchn()
    const p = await ok(e.bindUnbound())
    const q = await ok(e.bindInterdomain(p))
    await e.expectEvents(q)
    await ok(e.notify(p))
    await e.expectEvents(q)
    await ok(e.notify(q))
    await e.expectEvents(p)
  }),

  defineCase(264, 'an event that waits for a write-back dies with its port', async t => {
    const { near, port, far, farPort } = await t.channel()
    await ok(near.notify(port))
    assert.deepEqual(await far.events(), [farPort])
    await ok(near.notify(port))
    await ok(far.unbind(farPort))
    const again = await ok(far.bindInterdomain(port))
    await far.expectEvents(again)
    await ok(far.unbind(again))
    await far.expectSilence()
  }),
]

export const evtchnBind: readonly ConformanceCase[] = [
  ...connecting,
  ...restricting,
  ...numbering,
  ...descriptors,
]
