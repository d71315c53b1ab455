import { inspect } from 'node:util'
import { describe, expect } from 'vitest'
import { ClosedError, XenError } from '../../src/base/errors.ts'
import { test } from '../setup/world.ts'

describe('a shared page', () => {
  test('is the same memory on both sides', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, writable: true })
    using far = b.map(page.grants, { writable: true })
    page.bytes[72] = 1
    expect(far.bytes[72]).toBe(1)
    far.bytes[73] = 2
    expect(page.bytes[73]).toBe(2)
  })

  test('is zeroed, and one page unless more are asked for', ({ open }) => {
    using page = open(1).share({ to: 2 })
    expect(page.bytes).toEqual(new Uint8Array(4096))
    expect(page.grants).toHaveLength(1)
    expect(page.grants[0]).toEqual({ domid: 1, ref: expect.any(Number) })
  })

  test('names its grants as plain JSON that survives any road', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, pages: 3 })
    page.bytes[2 * 4096] = 7
    using far = b.map(JSON.parse(JSON.stringify(page.grants)))
    expect(far.byteLength).toBe(3 * 4096)
    expect(far.u8(2 * 4096)).toBe(7)
  })

  test('can be written by its owner when the peer may only read', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, writable: false })
    using far = b.map(page.grants)
    page.bytes.set([1, 2, 3, 4, 5, 6, 7, 8], 16)
    expect(far.u8(16)).toBe(1)
    expect(far.u16(16)).toBe(0x0201)
    expect(far.u32(16)).toBe(0x04030201)
    expect(far.u64(16)).toBe(0x0807060504030201n)
    expect([...far.slice(16, 19)]).toEqual([1, 2, 3])
    const target = new Uint8Array(2)
    expect(far.copyTo(target, 17, 19)).toBe(2)
    expect([...target]).toEqual([2, 3])
    expect(far.unsafeBytes()[23]).toBe(8)
  })

  test('is refused writable when it was granted read-only, with what Xen said', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2 })
    const error = caught(() => b.map(page.grants, { writable: true }))
    expect(error).toBeInstanceOf(XenError)
    expect(error).toMatchObject({ code: 'EINVAL', syscall: 'mmap gntdev', domid: 1 })
    expect((error as XenError).gntst).toBe('GNTST_general_error')
  })

  test('goes all at once with its connection', ({ open, world }) => {
    const a = open(1)
    a.share({ to: 2, pages: 2 })
    a.share({ to: 3 })
    a.evtchn.bindUnbound({ to: 2 })
    a.close()
    world.assertEmpty()
    a.close()
    expect(() => a.share({ to: 2 })).toThrow(ClosedError)
  })

  test('prints what it is', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, pages: 2, writable: true })
    expect(inspect(page)).toMatch(
      /^Share <1:\d+ 1:\d+ to domain 2, 2 pages writable at 0x[0-9a-f]+, index 0>$/,
    )
    using far = b.map(page.grants)
    expect(inspect(far)).toMatch(
      /^Mapping <1:\d+ 1:\d+, 2 pages read-only at 0x[0-9a-f]+, index 0>$/,
    )
    far.unmap()
    expect(inspect(far)).toMatch(/^Mapping <.*, closed>$/)
    expect(inspect(a)).toBe('Connection <domain 1 on sim>')
  })
})

describe('a mapping', () => {
  test('puts grants of several domains side by side', ({ open }) => {
    const [a, b, c] = [open(1), open(2), open(3)]
    using first = a.share({ to: 3, writable: true, pages: 2 })
    using second = b.share({ to: 3, writable: true })
    using far = c.map([...second.grants, ...first.grants], { writable: true })
    expect(far.bytes.byteLength).toBe(3 * 4096)
    far.bytes.fill(5, 4090, 4102)
    expect([...second.bytes.subarray(4088)]).toEqual([0, 0, 5, 5, 5, 5, 5, 5])
    expect([...first.bytes.subarray(0, 8)]).toEqual([5, 5, 5, 5, 5, 5, 0, 0])
  })

  test('is all or nothing', ({ open, world }) => {
    const [a, b] = [open(1), open(2)]
    const page = a.share({ to: 2, writable: true })
    const grants = [...page.grants, { domid: 1, ref: 99 }]
    expect(caught(() => b.map(grants))).toMatchObject({ code: 'EINVAL', syscall: 'mmap gntdev' })
    page.unmap()
    world.assertEmpty()
  })

  test('that failed leaves no index taken', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2 })
    expect(() => b.map({ domid: 1, ref: 99 })).toThrow(XenError)
    using far = b.map(page.grants)
    expect(far.index).toBe(0)
  })

  test('without writable has no bytes, and says what to use', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, writable: true })
    using far = b.map(page.grants)
    // @ts-expect-error: a read-only mapping has no bytes
    expect(() => far.bytes).toThrow(/copyTo, slice, u8 to u64, or unsafeBytes/)
  })

  test('survives the granter', ({ open, world }) => {
    const b = open(2)
    const granter = world.domain(1).process()
    const page = open(1, granter).share({ to: 2, writable: true })
    page.bytes[0] = 9
    using far = b.map(page.grants)
    granter.kill()
    expect(far.u8(0)).toBe(9)
  })

  test('of the own domain works in a PV domain', ({ open }) => {
    const a = open(1)
    using page = a.share({ to: 1, writable: true })
    using far = a.map(page.grants, { writable: true })
    far.bytes[1] = 4
    expect(page.bytes[1]).toBe(4)
  })

  test('of the own domain is refused in an HVM domain, where it would take the page', ({
    world,
    open,
  }) => {
    const a = open(1, world.domain(1, { kind: 'hvm' }).process())
    using page = a.share({ to: 1, writable: true })
    expect(() => a.map(page.grants)).toThrow(/HVM domain Xen takes the page/)
  })

  test('is found by any address in it', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, pages: 2 })
    using first = b.map(page.grants[0] as { domid: number; ref: number })
    using both = b.map(page.grants)
    expect(b.offsetForAddress(both.address + 5000)).toEqual({ offset: both.index, count: 2 })
    expect(b.offsetForAddress(first.address)).toEqual({ offset: 0, count: 1 })
    expect(caught(() => b.offsetForAddress(2 ** 47 - 4096))).toMatchObject({ code: 'EINVAL' })
  })
})

describe('after unmap', () => {
  test('kept bytes read zeroes and reach nobody', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, writable: true })
    const far = b.map(page.grants, { writable: true })
    const kept = far.bytes
    kept[0] = 1
    far.unmap()
    expect(kept[0]).toBe(0)
    kept[0] = 3
    expect(page.bytes[0]).toBe(1)
  })

  test('every call is a ClosedError, and unmap once more is nothing', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    const page = a.share({ to: 2, writable: true })
    const far = b.map(page.grants, { writable: true })
    for (const gone of [far, page]) {
      gone.unmap()
      gone.unmap()
      gone.close()
      gone[Symbol.dispose]()
      expect(gone.isClosed).toBe(true)
      expect(() => gone.bytes).toThrow(ClosedError)
      expect(() => gone.notifyOnUnmap({ clearByte: 0 })).toThrow(ClosedError)
    }
    for (const read of [
      () => far.u8(0),
      () => far.u16(0),
      () => far.u32(0),
      () => far.u64(0),
      () => far.slice(),
      () => far.copyTo(new Uint8Array(1)),
      () => far.unsafeBytes(),
    ]) {
      expect(read).toThrow(ClosedError)
    }
  })

  test('the ref of a share that the peer still maps is freed when the peer lets go', ({
    open,
    world,
  }) => {
    const [a, b] = [open(1), open(2)]
    const page = a.share({ to: 2, writable: true })
    const far = b.map(page.grants, { writable: true })
    page.unmap()
    far.bytes[0] = 1
    expect(far.bytes[0]).toBe(1)
    far.unmap()
    world.clock.advance(1000)
    world.assertEmpty()
  })

  test('of the process by a kill, closing is quiet', ({ open, world }) => {
    const process = world.domain(1).process()
    const a = open(1, process)
    const page = a.share({ to: 2 })
    const port = a.evtchn.bindUnbound({ to: 2 })
    process.kill()
    page.unmap()
    port.unbind()
    a.close()
  })
})

describe('arguments', () => {
  test('that cannot be are refused with both numbers', ({ open }) => {
    const a = open(1)
    expect(() => a.share({ to: 70000 })).toThrow(
      new RangeError('to must be an integer from 0 to 32751, got 70000'),
    )
    expect(() => a.share({ to: 2, pages: 0 })).toThrow(/pages must be an integer from 1 to 1048576/)
    expect(() => a.share({ to: '2' as never })).toThrow(
      new TypeError('to must be a number, got a string'),
    )
    expect(() => a.map([])).toThrow(/number of grants must be an integer from 1/)
    expect(() => a.map(undefined as never)).toThrow(TypeError)
    expect(() => a.map([null as never])).toThrow(/grants\[0\] must be { domid, ref }, got null/)
    expect(() => a.map({ domid: 65537, ref: 8 })).toThrow(/grants\[0\].domid/)
    expect(() => a.map({ domid: 1, ref: -1 })).toThrow(/grants\[0\].ref/)
    expect(() => a.offsetForAddress(-1)).toThrow(RangeError)
  })

  test('beyond a limit name it, what is used and what was wanted', ({ open, world }) => {
    world.setLimit('gntalloc.limit', 4)
    const a = open(1)
    using _ = a.share({ to: 2, pages: 3 })
    const error = caught(() => a.share({ to: 2, pages: 2 }))
    expect(error).toMatchObject({ code: 'ENOSPC', syscall: 'ioctl GNTALLOC_ALLOC_GREF' })
    expect((error as Error).message).toMatch(/limit.* 4.*3 in use.*2 wanted/)
  })
})

function caught(action: () => unknown): unknown {
  try {
    action()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}
