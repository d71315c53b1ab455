import { describe, expect } from 'vitest'
import { DEVICE_NAMES } from '../../src/abi/devices.ts'
import { ERRNO } from '../../src/abi/errno.ts'
import * as gntdev from '../../src/abi/gntdev.ts'
import { GNTST } from '../../src/abi/grant-table.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { domainPath } from '../../src/host/directory.ts'
import { receiveFramed, receiveRoom, sendFramed } from '../../src/host/message-socket.ts'
import { giveOrder } from '../../src/host/orders.ts'
import { encodeRanges, type MemoryRange } from '../../src/host/snapshot.ts'
import {
  type BodyReader,
  BodyWriter,
  OP,
  type Op,
  WIRE_MAGIC,
  WIRE_VERSION,
} from '../../src/host/wire.ts'
import { close } from '../../src/native/files.ts'
import * as sockets from '../../src/native/sockets.ts'
import { MSG_DONTWAIT } from '../../src/native/sockets.ts'
import type { HostMachine } from '../../src/start-host.ts'
import { test } from './machine-test.ts'
import { RawClient } from './raw-client.ts'

const SEGMENTS = 2 ** 20
const TARGET = 2 ** 32
/** Of a body that travels in a descriptor, and is copied in several slices. */
const MANY = 3000
/** Of a copy that takes long enough for a neighbour to say something. */
const LONG = 400_000

/** A client that asks without waiting for the answer. */
class Asking {
  readonly #socket: number
  readonly #room = receiveRoom()
  #fds: readonly number[] = []

  constructor(machine: HostMachine, domid: number) {
    this.#socket = sockets.socket(sockets.SOCK_SEQPACKET)
    expect(sockets.connect(this.#socket, domainPath(machine.directory, domid))).toBe(0)
    this.ask(OP.hello, new BodyWriter().u32(WIRE_MAGIC).u32(WIRE_VERSION))
    this.answer()
  }

  ask(op: Op, body: BodyWriter): void {
    expect(sendFramed(this.#socket, body.head(op, 0, 1, 0))).toBe(0)
  }

  answer(): { result: number; body: BodyReader } {
    const reply = receiveFramed(this.#socket, this.#room)
    if (!reply || typeof reply === 'number') throw new Error(`no answer: ${reply}`)
    this.#fds = [...this.#fds, ...reply.fds]
    return reply
  }

  get isAnswered(): boolean {
    const length = sockets.receive(this.#socket, new Uint8Array(1), sockets.MSG_PEEK | MSG_DONTWAIT)
    return length !== -ERRNO.EAGAIN
  }

  /** Asks for a copy of a byte for each segment, to bytes side by side unless told otherwise. */
  askCopy(segments: readonly gntdev.CopySegment[], into = segments.length): void {
    this.ask(OP.open, new BodyWriter().u32(DEVICE_NAMES.indexOf('gntdev')).u32(2).u32(1))
    const { result: fd } = this.answer()
    const header = gntdev.encodeGrantCopy(segments.length, SEGMENTS)
    const bytes = gntdev.encodeCopySegments(segments)
    const ranges: MemoryRange[] = [
      { address: 0x10000, bytes: header, writable: true },
      { address: SEGMENTS, bytes, writable: true },
      { address: TARGET, bytes: new Uint8Array(into), writable: true },
    ]
    const body = new BodyWriter().u32(fd).u32(gntdev.GNTDEV_GRANT_COPY).u64(0x10000)
    encodeRanges(body, ranges)
    this.ask(OP.ioctl, body)
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) close(fd)
    close(this.#socket)
  }
}

/** What the stores of an answer make of the memory that was sent. */
function stored(body: BodyReader, count: number): { statuses: number[]; target: Uint8Array } {
  const segments = new Uint8Array(count * gntdev.COPY_SEGMENT_SIZE).fill(0xff)
  const target = new Uint8Array(count).fill(0xff)
  for (let left = body.u32(); left > 0; left--) {
    const address = body.u64()
    if (address >= TARGET) target.set(body.bytes(), address - TARGET)
    else segments.set(body.bytes(), address - SEGMENTS)
  }
  const statuses = Array.from({ length: count }, (_, i) => gntdev.decodeCopyStatus(segments, i))
  return { statuses, target }
}

/** A byte of a grant for each segment. */
function bytesOf(domid: number, ref: number, count: number): gntdev.CopySegment[] {
  return Array.from({ length: count }, (_, i) => ({
    source: { domid, ref, offset: i % PAGE_SIZE },
    dest: { address: TARGET + i },
    len: 1,
    flags: gntdev.GRANT_COPY_SOURCE_GREF,
  }))
}

/** Domain 1 with a page for domains 2 and 3, and whatever is at `i` of it. */
async function granted(machine: HostMachine) {
  const xen = await machine.connect({ domid: 1 })
  const others = [await machine.connect({ domid: 2 }), await machine.connect({ domid: 3 })]
  const pages = [xen.share({ to: 2, writable: true }), xen.share({ to: 3, writable: true })]
  for (const page of pages)
    page.bytes.forEach((_, i) => {
      page.bytes[i] = i % 251
    })
  const [two = 0, three = 0] = pages.map(({ grants }) => grants[0]?.ref)
  return {
    two,
    three,
    [Symbol.dispose]: () => {
      for (const connection of [xen, ...others]) connection.close()
    },
  }
}

describe('a long GRANT_COPY', () => {
  test('copies all that it names, and tells how each segment went', async ({ machine }) => {
    using page = await granted(machine)
    using client = new Asking(machine, 2)
    const segments = bytesOf(1, page.two, MANY).map((segment, i) =>
      i % 7 === 0 ? { ...segment, source: { domid: 1, ref: 99_999, offset: 0 } } : segment,
    )
    client.askCopy(segments)
    const { result, body } = client.answer()
    expect(result).toBe(0)
    const { statuses, target } = stored(body, MANY)
    expect(statuses).toEqual(segments.map((_, i) => (i % 7 === 0 ? GNTST.bad_gntref : GNTST.okay)))
    expect([...target]).toEqual(
      segments.map((_, i) => (i % 7 === 0 ? 0xff : (i % PAGE_SIZE) % 251)),
    )
  })

  test('that is refused on the way has copied what was not queued any more', async ({
    machine,
  }) => {
    using page = await granted(machine)
    using client = new Asking(machine, 2)
    const segments = bytesOf(1, page.two, MANY)
    const bad = 2000
    segments[bad] = { ...bytesOf(1, page.two, 1)[0], flags: 0 } as gntdev.CopySegment
    client.askCopy(segments)
    const { result, body } = client.answer()
    expect(result).toBe(-ERRNO.EINVAL)
    const { target } = stored(body, MANY)
    const copied = target.findIndex((byte, i) => byte !== (i % PAGE_SIZE) % 251)
    expect(copied).toBe(bad - (bad % gntdev.GRANT_COPY_BATCH || gntdev.GRANT_COPY_BATCH))
  })

  test('lets the neighbours call meanwhile', async ({ machine }) => {
    using page = await granted(machine)
    using client = new Asking(machine, 2)
    using neighbour = new RawClient(machine, 3)
    client.askCopy(bytesOf(1, page.two, LONG))
    let calls = 0
    for (; !client.isAnswered; calls++) neighbour.call(OP.close, new BodyWriter().u32(99))
    expect(calls).toBeGreaterThan(10)
    expect(client.answer().result).toBe(0)
  })

  test('waits for another one of its domain, and for no other domain’s', async ({ machine }) => {
    using page = await granted(machine)
    using first = new Asking(machine, 2)
    using second = new Asking(machine, 2)
    using other = new Asking(machine, 3)
    first.askCopy(bytesOf(1, page.two, LONG))
    second.askCopy(bytesOf(1, page.two, MANY))
    other.askCopy(bytesOf(1, page.three, MANY))
    expect(other.answer().result).toBe(0)
    expect([first.isAnswered, second.isAnswered]).toEqual([false, false])
    expect(second.answer().result).toBe(0)
    expect(first.isAnswered).toBe(true)
    expect(first.answer().result).toBe(0)
  })

  test('ends with its client, and lets those go on that waited for it', async ({ machine }) => {
    using page = await granted(machine)
    using second = new Asking(machine, 2)
    {
      using first = new Asking(machine, 2)
      first.askCopy(bytesOf(1, page.two, LONG))
      second.askCopy(bytesOf(1, page.two, MANY))
    }
    expect(second.answer().result).toBe(0)
  })

  test('ends with its domain', async ({ machine }) => {
    using page = await granted(machine)
    using client = new Asking(machine, 2)
    client.askCopy(bytesOf(1, page.two, LONG))
    giveOrder(machine.directory, { order: 'destroy', domid: 2 })
    expect(() => client.answer()).toThrow('no answer: undefined')
    using neighbour = new RawClient(machine, 3)
    expect(neighbour.open('gntdev')).toBeGreaterThanOrEqual(0)
  })
})
