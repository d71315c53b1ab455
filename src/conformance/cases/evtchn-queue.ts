/** Section 7.12, second part, and its later additions: what waits in the ring of a descriptor. */
import assert from 'node:assert/strict'
import { EVTCHN_IO_MAX, PORT_SIZE } from '../../abi/evtchn.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import type { CaseContext } from '../context.ts'
import type { Channel } from '../evtchn.ts'
import { Epoll, interruptEvery, sendSigio } from '../system-calls.ts'
import { ok, refused } from '../verdict.ts'

/** Entries of a ring that grows while no more ports are bound than that. */
const FIRST_ENTRIES = 64
/** Entries of one that does not. */
const FIXED_ENTRIES = 1024
/** One port more than a ring that grows has entries at first. */
const MANY_PORTS = FIRST_ENTRIES + 1

/** As many events as fit into the ring of a descriptor with one port. */
const entriesOf = ({ profile }: CaseContext): number =>
  profile.ringGrows ? FIRST_ENTRIES : FIXED_ENTRIES

const IDLE = { in: false, out: true, err: false }
const READABLE = { in: true, out: true, err: false }
const OVERFLOWED = { in: false, out: false, err: true }

/** Sends on a channel and waits until the event is there without reading it. */
type Send = (channel: Channel) => Promise<void>

/**
 * A {@link Send} that works behind unread events too, where the descriptor is readable anyway: what
 * is sent later arrives later, so that an event on a channel aside tells that the first is there.
 */
async function sender(t: CaseContext): Promise<Send> {
  const aside = await t.channel()
  return async ({ near, port }) => {
    assert.equal(await near.notify(port), 0)
    await ok(aside.near.notify(aside.port))
    await aside.far.expectEvents(aside.farPort)
  }
}

/** Fills the ring: each event is written back, none is read. */
async function fill(channel: Channel, send: Send, rounds: number): Promise<void> {
  for (let i = 0; i < rounds; i++) {
    await send(channel)
    await ok(channel.far.writePorts(channel.farPort))
  }
}

/** What reports edges does so for the first of two events that nobody reads, and not the second. */
async function expectEdges(
  t: CaseContext,
  first: Channel,
  second: Channel,
  count: () => Promise<number>,
): Promise<void> {
  const send = async ({ near, port }: Channel): Promise<number> => {
    await ok(near.notify(port))
    await t.settleEvents()
    return count()
  }
  assert.equal(await send(first), 1)
  assert.equal(await send(second), 0)
  await first.far.expectEvents(first.farPort, second.farPort)
  assert.equal(await send(first), 1)
}

const reading: readonly ConformanceCase[] = [
  defineCase(215, 'an event that arrived is read even after its port was unbound', async t => {
    const { near, port, far, farPort } = await t.channel()
    await ok(near.notify(port))
    await far.arrival()
    assert.equal(await far.unbind(farPort), 0)
    assert.deepEqual((await far.readPorts()).ports, [farPort])
  }),

  defineCase(216, 'RESET drops events, and their ports still wait for a write-back', async t => {
    const { near, port, far, farPort } = await t.channel()
    await ok(near.notify(port))
    await far.arrival()
    assert.equal(await far.reset(), 0)
    assert.deepEqual(await far.poll(), IDLE)
    await ok(near.notify(port))
    await far.expectSilence()
    await ok(far.writePorts(farPort))
    await far.expectEvents(farPort)
  }),

  defineCase(219, 'an idle descriptor can be written and not read', async t => {
    assert.deepEqual(await (await t.channel()).far.poll(), IDLE)
  }),

  defineCase(220, 'a descriptor with an event can be written and read', async t => {
    const { near, port, far } = await t.channel()
    await ok(near.notify(port))
    await far.arrival()
    assert.deepEqual(await far.poll(), READABLE)
  }),

  defineCaseFor('signal', 222, 'a signal interrupts a blocked read: EINTR', async t => {
    const on = await t.able()
    const reader = await t.evtchn({ on, blocking: true })
    const { near, port, far, farPort } = await t.channel(undefined, reader)
    // Again and again: a single one might come before the read waits.
    await interruptEvery(on, 10)
    await refused('EINTR', far.readPorts())
    await interruptEvery(on, 0)
    await ok(near.notify(port))
    await far.expectEvents(farPort)
  }),

  defineCaseFor('remap', 256, 'an edge-triggered epoll reports a ring that was empty', async t => {
    const on = await t.able()
    const first = await t.channel(undefined, await t.evtchn({ on }))
    const second = await t.channel(first.near, first.far)
    const epoll = await Epoll.create(on)
    await ok(epoll.addEdgeTriggered(first.far))
    await expectEdges(t, first, second, () => epoll.count())
  }),

  defineCaseFor('signal', 257, 'SIGIO comes for a ring that was empty', async t => {
    const on = await t.able()
    const first = await t.channel(undefined, await t.evtchn({ on }))
    const second = await t.channel(first.near, first.far)
    await sendSigio(first.far)
    await expectEdges(t, first, second, () => on.signals())
  }),

  defineCase(261, 'ports written back together fire in the order of the NOTIFYs', async t => {
    const first = await t.channel()
    const second = await t.channel(first.near, first.far)
    const { near, far } = first
    await ok(near.notify(first.port))
    await ok(near.notify(second.port))
    assert.deepEqual(await far.events(2), [first.farPort, second.farPort])
    assert.equal(await far.writePorts(first.farPort, second.farPort), 2 * PORT_SIZE)
    await ok(near.notify(second.port))
    await ok(near.notify(first.port))
    await far.expectEvents(second.farPort, first.farPort)
  }),

  defineCase(
    262,
    'an unread event of an unbound port is read by the next with its number',
    async t => {
      const { near, port, far, farPort } = await t.channel()
      await ok(near.notify(port))
      await far.arrival()
      await ok(far.unbind(farPort))
      assert.equal(await far.bindUnbound(), farPort)
      assert.deepEqual((await far.readPorts()).ports, [farPort])
    },
  ),

  defineCase(265, 'a write is cut to 4096 bytes', async t => {
    const e = await t.evtchn()
    assert.equal(await e.write(new Uint8Array(8000)), EVTCHN_IO_MAX)
    assert.equal(await e.write(new Uint8Array(EVTCHN_IO_MAX)), EVTCHN_IO_MAX)
  }),
]

const overflowing: readonly ConformanceCase[] = [
  defineCase(
    217,
    'one unread event more than fits overflows: EFBIG, and nothing but POLLERR',
    async t => {
      const channel = await t.channel()
      await fill(channel, await sender(t), entriesOf(t) + 1)
      await refused('EFBIG', channel.far.readPorts())
      assert.deepEqual(await channel.far.poll(), OVERFLOWED)
    },
  ),

  defineCase(218, 'RESET ends an overflow and empties the ring', async t => {
    const channel = await t.channel()
    await fill(channel, await sender(t), entriesOf(t) + 1)
    assert.equal(await channel.far.reset(), 0)
    await refused('EAGAIN', channel.far.readPorts())
  }),

  defineCase(
    223,
    'the ring has room for an event of each of 65 ports, and keeps what is in it',
    async t => {
      const near = await t.evtchn()
      const far = await t.evtchn()
      const farPorts: number[] = []
      // Each bind brings the first event of its port, and the last one makes the full ring grow.
      for (let i = 0; i < MANY_PORTS; i++) {
        farPorts.push(await ok(far.bindInterdomain(await ok(near.bindUnbound()))))
      }
      await t.settleEvents()
      assert.deepEqual((await far.readPorts()).ports, farPorts)
    },
  ),

  defineCase(258, 'as many unread events fit as the ring has entries', async t => {
    const channel = await t.channel()
    await fill(channel, await sender(t), entriesOf(t))
    assert.equal((await channel.far.readPorts()).result, entriesOf(t) * PORT_SIZE)
    await refused('EAGAIN', channel.far.readPorts())
  }),

  defineCase(259, 'after an overflow ports can be sent on and written back as before', async t => {
    const channel = await t.channel()
    const { far, farPort } = channel
    const send = await sender(t)
    await fill(channel, send, entriesOf(t) + 1)
    await send(channel)
    assert.equal(await far.writePorts(farPort), PORT_SIZE)
    assert.equal(await far.reset(), 0)
    await refused('EAGAIN', far.readPorts())
    assert.equal(await far.writePorts(farPort), PORT_SIZE)
    await send(channel)
    await far.expectEvents(farPort)
  }),

  defineCase(260, 'the ring has that room still when the ports are gone', async t => {
    const channel = await t.channel()
    const { far } = channel
    const more: number[] = []
    for (let i = 0; i < MANY_PORTS; i++) more.push(await ok(far.bindUnbound()))
    for (const port of more) await ok(far.unbind(port))
    await fill(channel, await sender(t), MANY_PORTS)
    assert.equal((await far.readPorts()).result, MANY_PORTS * PORT_SIZE)
  }),

  defineCase(606, 'a read of less than a port is 0, even after an overflow', async t => {
    const channel = await t.channel()
    await fill(channel, await sender(t), entriesOf(t) + 1)
    assert.deepEqual(await channel.far.readPorts(3), { result: 0, ports: [] })
    await refused('EFBIG', channel.far.readPorts(4))
  }),
]

export const evtchnQueue: readonly ConformanceCase[] = [...reading, ...overflowing]
