import { describe, expect } from 'vitest'
import { test } from '../setup/world.ts'

describe('notifyOnUnmap of a share', () => {
  test('clears its byte for the peer and sends the event when the owner unmaps', async ({
    open,
  }) => {
    const [a, b] = [open(1), open(2)]
    using bell = b.evtchn.bindUnbound({ to: 1 })
    using far = a.evtchn.bindInterdomain({ domid: 2, port: bell.port })
    const page = a.share({ to: 2, writable: true })
    page.bytes[72] = 1
    page.notifyOnUnmap({ clearByte: 72, sendEvent: far })
    using mapping = b.map(page.grants)
    expect(mapping.u8(72)).toBe(1)
    page.unmap()
    await bell.pending()
    expect(mapping.u8(72)).toBe(0)
  })

  test('fires when the owner is killed, and the byte is cleared before the event', async ({
    open,
    world,
  }) => {
    const b = open(2)
    const owner = world.domain(1).process()
    const a = open(1, owner)
    using bell = b.evtchn.bindUnbound({ to: 1 })
    const page = a.share({ to: 2, writable: true })
    page.bytes[72] = 1
    page.notifyOnUnmap({
      clearByte: 72,
      sendEvent: a.evtchn.bindInterdomain({ domid: 2, port: bell.port }),
    })
    using mapping = b.map(page.grants)
    const told = bell.pending().then(() => mapping.u8(72))
    owner.kill()
    expect(await told).toBe(0)
  })

  test('keeps one notification for each page', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    const page = a.share({ to: 2, pages: 3 })
    page.bytes.fill(1)
    page.notifyOnUnmap({ clearByte: 10 })
    page.notifyOnUnmap({ clearByte: 4096 + 11 })
    page.notifyOnUnmap({ clearByte: 4096 + 12 })
    using mapping = b.map(page.grants)
    page.unmap()
    const cleared = [...mapping.slice().entries()].filter(([, byte]) => byte === 0)
    expect(cleared.map(([offset]) => offset)).toEqual([10, 4096 + 12])
  })

  test('is disarmed for all pages, or for one', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    const page = a.share({ to: 2, pages: 2 })
    page.bytes.fill(1)
    page.notifyOnUnmap({ clearByte: 0 })
    page.notifyOnUnmap({ clearByte: 4096 })
    page.notifyOnUnmap({ page: 0, clearByte: null, sendEvent: null })
    using mapping = b.map(page.grants)
    page.unmap()
    expect(mapping.u8(0)).toBe(1)
    expect(mapping.u8(4096)).toBe(0)

    const other = a.share({ to: 2, pages: 2 })
    other.bytes.fill(1)
    other.notifyOnUnmap({ clearByte: 0 })
    other.notifyOnUnmap({ clearByte: 4096 })
    other.notifyOnUnmap()
    using second = b.map(other.grants)
    other.unmap()
    expect([second.u8(0), second.u8(4096)]).toEqual([1, 1])
  })

  test('takes an event alone, on any page', async ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using bell = b.evtchn.bindUnbound({ to: 1 })
    using far = a.evtchn.bindInterdomain({ domid: 2, port: bell.port })
    const page = a.share({ to: 2, pages: 2 })
    page.notifyOnUnmap({ page: 1, sendEvent: far })
    page.unmap()
    await bell.pending()
  })

  test('refuses a byte outside, a page that the byte is not in, and a port that is not bound', ({
    open,
  }) => {
    const a = open(1)
    using page = a.share({ to: 2 })
    expect(() => page.notifyOnUnmap({ clearByte: 4096 })).toThrow(
      new RangeError('clearByte must be an integer from 0 to 4095, got 4096'),
    )
    expect(() => page.notifyOnUnmap({ clearByte: -1 })).toThrow(RangeError)
    expect(() => page.notifyOnUnmap({ clearByte: 1.5 })).toThrow(RangeError)
    expect(() => page.notifyOnUnmap({ page: 1 })).toThrow(RangeError)
    expect(() => page.notifyOnUnmap({ sendEvent: 3 as never })).toThrow(TypeError)
    expect(() => page.notifyOnUnmap({ sendEvent: { port: 77 } })).toThrow(/EINVAL.*port 77.*bind/)
    using two = a.share({ to: 2, pages: 2 })
    expect(() => two.notifyOnUnmap({ clearByte: 4096, page: 0 })).toThrow(
      'clearByte 4096 lies in page 1, not in page 0',
    )
  })
})

describe('notifyOnUnmap of a mapping', () => {
  test('tells the granter when the mapper is killed', async ({ open, world }) => {
    const a = open(1)
    const mapper = world.domain(2).process()
    const b = open(2, mapper)
    using bell = a.evtchn.bindUnbound({ to: 2 })
    using page = a.share({ to: 2, writable: true, pages: 2 })
    const far = b.map(page.grants, { writable: true })
    far.bytes[4096 + 73] = 1
    far.notifyOnUnmap({
      clearByte: 4096 + 73,
      sendEvent: b.evtchn.bindInterdomain({ domid: 1, port: bell.port }),
    })
    expect(page.bytes[4096 + 73]).toBe(1)
    mapper.kill()
    await bell.pending()
    expect(page.bytes[4096 + 73]).toBe(0)
  })

  test('keeps one notification for the whole mapping: the last', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, writable: true, pages: 2 })
    page.bytes.fill(1)
    const far = b.map(page.grants, { writable: true })
    far.notifyOnUnmap({ clearByte: 0 })
    far.notifyOnUnmap({ clearByte: 4096 })
    far.unmap()
    expect([page.bytes[0], page.bytes[4096]]).toEqual([1, 0])
  })

  test('is disarmed by a call without either', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, writable: true })
    page.bytes[5] = 1
    const far = b.map(page.grants, { writable: true })
    far.notifyOnUnmap({ clearByte: 5 })
    far.notifyOnUnmap({})
    far.unmap()
    expect(page.bytes[5]).toBe(1)
  })

  test('refuses to clear a byte of a read-only mapping, which oopses a kernel', async ({
    open,
  }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, writable: true })
    using bell = a.evtchn.bindUnbound({ to: 2 })
    using ring = b.evtchn.bindInterdomain({ domid: 1, port: bell.port })
    const far = b.map(page.grants)
    expect(() => far.notifyOnUnmap({ clearByte: 0, sendEvent: ring })).toThrow(
      /clearByte needs a writable mapping/,
    )
    far.notifyOnUnmap({ sendEvent: ring })
    far.unmap()
    await bell.pending()
  })

  test('keeps the port of its event open although it was unbound', async ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using bell = a.evtchn.bindUnbound({ to: 2 })
    using page = a.share({ to: 2, writable: true })
    const far = b.map(page.grants, { writable: true })
    const ring = b.evtchn.bindInterdomain({ domid: 1, port: bell.port })
    far.notifyOnUnmap({ sendEvent: ring })
    ring.unbind()
    far.unmap()
    await bell.pending()
  })
})
