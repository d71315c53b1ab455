import { inspect } from 'node:util'
import { describe, expect } from 'vitest'
import { ClosedError, XenError } from '../../src/base/errors.ts'
import { seededRandom } from '../../src/base/random.ts'
import type { Connection } from '../../src/connection.ts'
import type { Port } from '../../src/evtchn/port.ts'
import { test } from '../setup/world.ts'

/** A channel whose first, immediate event at the binding end was already taken. */
async function channel(a: Connection, b: Connection): Promise<[Port, Port]> {
  const near = a.evtchn.bindUnbound({ to: b.domid })
  const far = b.evtchn.bindInterdomain({ domid: a.domid, port: near.port })
  await far.pending()
  far.unmask()
  return [near, far]
}

/** Lets every promise that can settle do so. */
const settled = () => new Promise(resolve => setImmediate(resolve))

describe('a port', () => {
  test('hears a notify of its peer, in both directions', async ({ open }) => {
    const [near, far] = await channel(open(1), open(2))
    near.notify()
    await far.pending()
    far.notify()
    await near.pending()
  })

  test('that was bound to a peer is pending at once', async ({ open }) => {
    const [a, b] = [open(1), open(2)]
    const near = a.evtchn.bindUnbound({ to: 2 })
    const far = b.evtchn.bindInterdomain({ domid: 1, port: near.port })
    await far.pending()
  })

  test('keeps an event that nobody awaited, and merges several into one', async ({ open }) => {
    const [near, far] = await channel(open(1), open(2))
    near.notify()
    near.notify()
    near.notify()
    await far.pending()
    const again = far.pending()
    expect(await Promise.race([again, settled().then(() => 'nothing')])).toBe('nothing')
    far.unmask()
    await again
  })

  test('stays masked after pending until it is unmasked', async ({ open }) => {
    const [near, far] = await channel(open(1), open(2))
    near.notify()
    await far.pending()
    near.notify()
    const again = far.pending()
    expect(await Promise.race([again, settled().then(() => 'masked')])).toBe('masked')
    far.unmask()
    await again
  })

  test('keeps what came for it while another port was awaited', async ({ open }) => {
    const [a, b] = [open(1), open(2)]
    const [one, farOne] = await channel(a, b)
    const [two, farTwo] = await channel(a, b)
    one.notify()
    two.notify()
    await farTwo.pending()
    expect(inspect(farOne)).toBe(`Port <${farOne.port}, pending>`)
    await farOne.pending()
    expect(inspect(farOne)).toBe(`Port <${farOne.port}>`)
  })

  test('wakes everybody who awaits it', async ({ open }) => {
    const [near, far] = await channel(open(1), open(2))
    const both = Promise.all([far.pending(), far.pending()])
    near.notify()
    await both
  })

  test('notifies nobody without complaint', ({ open }) => {
    open(1).evtchn.bindUnbound({ to: 2 }).notify()
  })
})

describe('events', () => {
  test('give a turn for each event and re-arm on each', async ({ open }) => {
    const [near, far] = await channel(open(1), open(2))
    let turns = 0
    near.notify()
    for await (const _ of far.events()) {
      turns++
      if (turns === 5) break
      near.notify()
    }
    expect(turns).toBe(5)
  })

  test('that come during a turn make the next, and further ones merge', async ({ open }) => {
    const [near, far] = await channel(open(1), open(2))
    const turns = far.events()
    near.notify()
    await turns.next()
    for (let i = 0; i < 5; i++) near.notify()
    // One was queued; the rest is one pending bit, let through when that turn re-arms.
    await turns.next()
    await turns.next()
    const further = turns.next()
    expect(await Promise.race([further, settled().then(() => 'merged')])).toBe('merged')
    near.notify()
    await further
  })

  test('leave the rest of the program its turns, though there is always one more', async ({
    open,
  }) => {
    const [near, far] = await channel(open(1), open(2))
    let isTurned = false
    setImmediate(() => {
      isTurned = true
    })
    let turns = 0
    near.notify()
    for await (const _ of far.events()) {
      if (isTurned || ++turns === 10_000) break
      near.notify()
    }
    expect(isTurned).toBe(true)
    isTurned = false
    setImmediate(() => {
      isTurned = true
    })
    for (turns = 0; !isTurned && turns < 10_000; turns++) {
      near.notify()
      await far.pending()
      far.unmask()
    }
    expect(isTurned).toBe(true)
  })

  test('end when the port is closed', async ({ open }) => {
    const [, far] = await channel(open(1), open(2))
    const turn = far.events().next()
    far.close()
    expect(await turn).toEqual({ done: true, value: undefined })
  })

  test('end with the reason of the signal', async ({ open }) => {
    const [near, far] = await channel(open(1), open(2))
    const stop = new AbortController()
    const turns = far.events({ signal: stop.signal })
    near.notify()
    await turns.next()
    const waiting = turns.next()
    stop.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    expect(await turns.next()).toEqual({ done: true, value: undefined })
  })

  test('with a signal that aborted before are not awaited', async ({ open }) => {
    const [near, far] = await channel(open(1), open(2))
    near.notify()
    const signal = AbortSignal.abort(new Error('too late'))
    await expect(far.pending({ signal })).rejects.toThrow('too late')
    await far.pending()
  })

  test('go on after an abort, for others and for a later wait', async ({ open }) => {
    const [near, far] = await channel(open(1), open(2))
    const stop = new AbortController()
    const aborted = far.pending({ signal: stop.signal })
    stop.abort(new Error('enough'))
    const later = far.pending()
    near.notify()
    await expect(aborted).rejects.toThrow('enough')
    await later
  })

  test('end with an error when the process is killed', async ({ open, world }) => {
    const process = world.domain(2).process()
    const [, far] = await channel(open(1), open(2, process))
    const waiting = far.pending()
    process.kill()
    await expect(waiting).rejects.toBeInstanceOf(ClosedError)
  })
})

describe('any order of awaiting, giving up and closing', () => {
  test('loses nobody an event', async ({ open }) => {
    const [a, b] = [open(1), open(2)]
    const random = seededRandom(11)
    const pairs = await Promise.all([channel(a, b), channel(a, b), channel(a, b)])
    for (let round = 0; round < 300; round++) {
      const [near, far] = pairs[random() % 3]!
      const other = pairs[random() % 3]![1]
      const stop = new AbortController()
      const givenUp = other.pending({ signal: stop.signal }).catch(() => 'given up')
      // The event comes before, between or after the others' coming and going.
      const order = random() % 3
      if (order === 0) near.notify()
      const awaited = far.pending()
      if (order === 1) near.notify()
      if (random() % 2) stop.abort()
      if (order === 2) near.notify()
      await awaited
      far.unmask()
      stop.abort()
      if ((await givenUp) !== 'given up' && other !== far) other.unmask()
    }
  })
})

describe('unbinding', () => {
  test('rejects who waits and every later call, and is idempotent', async ({ open }) => {
    const [, far] = await channel(open(1), open(2))
    const waiting = far.pending()
    far.unbind()
    far.unbind()
    far.close()
    far[Symbol.dispose]()
    await expect(waiting).rejects.toThrow(new ClosedError(`port ${far.port}`).message)
    expect(far.isClosed).toBe(true)
    expect(() => far.notify()).toThrow(ClosedError)
    expect(() => far.unmask()).toThrow(ClosedError)
    await expect(far.pending()).rejects.toBeInstanceOf(ClosedError)
    await expect(far.events().next()).rejects.toBeInstanceOf(ClosedError)
    expect(inspect(far)).toBe(`Port <${far.port}, closed>`)
  })

  test('leaves no old event to a new port of the same number', async ({ open }) => {
    const b = open(2)
    const [near, far] = await channel(open(1), b)
    near.notify()
    far.unbind()
    using again = b.evtchn.bindUnbound({ to: 1 })
    expect(again.port).toBe(far.port)
    const event = again.pending()
    expect(await Promise.race([event, settled().then(() => 'nothing')])).toBe('nothing')
    using peer = open(1).evtchn.bindInterdomain({ domid: 2, port: again.port })
    peer.notify()
    await event
  })

  test('and binding a hundred times overflows nothing', async ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using steady = a.evtchn.bindUnbound({ to: 2 })
    using bell = b.evtchn.bindInterdomain({ domid: 1, port: steady.port })
    for (let i = 0; i < 100; i++) {
      using near = a.evtchn.bindUnbound({ to: 2 })
      using far = b.evtchn.bindInterdomain({ domid: 1, port: near.port })
      expect(far.port).not.toBe(bell.port)
    }
    await bell.pending()
  })

  test('turns the other end unbound, to be bound again', async ({ open }) => {
    const [near, far] = await channel(open(1), open(2))
    far.unbind()
    using again = open(2).evtchn.bindInterdomain({ domid: 1, port: near.port })
    again.notify()
    await near.pending()
  })
})

describe('binding', () => {
  test('to what is not there says what was missing', ({ open, world }) => {
    const b = open(2)
    world.domain(1)
    expect(() => b.evtchn.bindInterdomain({ domid: 1, port: 9 })).toThrow(
      /EINVAL: ioctl EVTCHN_BIND_INTERDOMAIN.*domid 1.*port 9.*bindUnbound/,
    )
    expect(() => b.evtchn.bindInterdomain({ domid: 77, port: 1 })).toThrow(/ESRCH/)
    expect(() => b.evtchn.bindVirq(99)).toThrow(/EINVAL: ioctl EVTCHN_BIND_VIRQ.*below 24/)
    expect(() => b.evtchn.bindUnbound({ to: -1 })).toThrow(RangeError)
    expect(() => b.evtchn.bindUnbound({ to: 0x7ff1 })).toThrow(RangeError)
  })

  test('after restrict is for that domain only', ({ open }) => {
    const [a, b, c] = [open(1), open(2), open(3)]
    const forB = a.evtchn.bindUnbound({ to: 2 })
    const forBFromC = c.evtchn.bindUnbound({ to: 2 })
    b.evtchn.restrict(1)
    const bound = b.evtchn.bindInterdomain({ domid: 1, port: forB.port })
    expect(bound.port).toBeGreaterThan(0)
    const error = (action: () => unknown): string | undefined => {
      try {
        action()
        return undefined
      } catch (e) {
        return (e as XenError).code
      }
    }
    expect(error(() => b.evtchn.bindUnbound({ to: 1 }))).toBe('EACCES')
    expect(error(() => b.evtchn.bindInterdomain({ domid: 3, port: forBFromC.port }))).toBe('EACCES')
    expect(error(() => b.evtchn.restrict(1))).toBe('EACCES')
    expect(() => c.evtchn.restrict(0)).toThrow(XenError)
  })

  test('of a virtual interrupt gives a port', ({ open }) => {
    using port = open(1).evtchn.bindVirq(3)
    expect(port.port).toBeGreaterThan(0)
  })
})

describe('reset', () => {
  test('forgets what was not taken, and lets the next event through', async ({ open }) => {
    const b = open(2)
    const [near, far] = await channel(open(1), b)
    near.notify()
    b.evtchn.reset()
    const next = far.pending()
    expect(await Promise.race([next, settled().then(() => 'forgotten')])).toBe('forgotten')
    near.notify()
    await next
  })
})
