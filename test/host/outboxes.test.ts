import { describe, expect } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import * as gntalloc from '../../src/abi/gntalloc.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { nanoseconds } from '../../src/base/nanoseconds.ts'
import { OUTBOX_BYTES, OUTBOXES_MAX, QUEUED_CALLS_MAX } from '../../src/host/limits.ts'
import { mapFile, type SharedFile, sealedMemfd } from '../../src/host/memfd.ts'
import { giveOrder } from '../../src/host/orders.ts'
import { OutboxReader } from '../../src/host/outbox-reader.ts'
import { encodeRanges } from '../../src/host/snapshot.ts'
import { BodyWriter, HEADER_SIZE, OP, type Op, OUTBOX_LENGTH } from '../../src/host/wire.ts'
import { load, store } from '../../src/memory/atomics.ts'
import type { HostMachine } from '../../src/start-host.ts'
import { test } from './machine-test.ts'
import { ARGUMENT, RawClient } from './raw-client.ts'

const FIRST_WORD = HEADER_SIZE / 4
const AT = 2 ** 40

/** A client that writes its outbox by hand. */
class Writer extends RawClient {
  readonly outbox: SharedFile

  constructor(machine: HostMachine, domid: number) {
    giveOrder(machine.directory, { order: 'domain', domid })
    super(machine, domid)
    const [fd = -1] = this.call(OP.outbox, new BodyWriter().u64(nanoseconds())).fds
    const file = mapFile(fd, OUTBOX_BYTES, true)
    if (typeof file === 'number') throw new Error(`mmap: ${file}`)
    this.outbox = file
  }

  override [Symbol.dispose](): void {
    this.outbox.close()
    super[Symbol.dispose]()
  }

  /** Leaves a call that was made at `time`. */
  leave(time: number, op: Op, body: BodyWriter): void {
    const { words } = this.outbox
    const used = load(words, OUTBOX_LENGTH)
    const at = FIRST_WORD + used / 4
    words.set([time, time / 2 ** 32, op, body.length], at)
    body.copyTo(words, at + 4)
    store(words, OUTBOX_LENGTH, used + 16 + body.length)
  }

  leaveDealloc(time: number, fd: number, index: number): void {
    const bytes = gntalloc.encodeDeallocGref({ index, count: 1 })
    const body = new BodyWriter().u32(fd).u32(gntalloc.GNTALLOC_DEALLOC_GREF).u64(ARGUMENT)
    encodeRanges(body, [{ address: ARGUMENT, bytes, writable: true }])
    this.leave(time, OP.ioctl, body)
  }

  leaveMunmap(time: number): void {
    this.leave(time, OP.munmap, munmap())
  }

  /** Whether the host still listens. */
  get isHeard(): boolean {
    return this.call(OP.none, new BodyWriter()).result === 0
  }
}

function munmap(): BodyWriter {
  return new BodyWriter().u64(AT).u64(PAGE_SIZE)
}

/** A page of domain 1 that domain 2 maps, and the clients that grant and map it. */
function mapped(one: Writer, two: Writer): { fd: number; index: number; ref: number } {
  const fd = one.open('gntalloc')
  const { index, refs } = one.alloc(fd, 2, 1)
  const [ref = 0] = refs
  const grants = [{ domid: 1, ref }]
  expect(two.map(two.open('gntdev'), grants, AT).result).toBe(0)
  return { fd, index, ref }
}

function asks(machine: HostMachine): void {
  giveOrder(machine.directory, { order: 'status' })
}

const ORDERS = [
  { isGranterFirst: true, whose: 'granter' },
  { isGranterFirst: false, whose: 'mapper' },
]

describe('calls in several outboxes', () => {
  for (const { isGranterFirst, whose } of ORDERS) {
    for (const isUnmappedFirst of [true, false]) {
      const what = isUnmappedFirst
        ? 'are made in the order in which they were left'
        : 'leave a page to the timer whose mapping went later'
      test(`${what}, if the ${whose} came first`, ({ machine }) => {
        using first = new Writer(machine, isGranterFirst ? 1 : 2)
        using second = new Writer(machine, isGranterFirst ? 2 : 1)
        const [granter, mapper] = isGranterFirst ? [first, second] : [second, first]
        const { fd, index, ref } = mapped(granter, mapper)
        const now = nanoseconds()
        mapper.leaveMunmap(isUnmappedFirst ? now - 1 : now)
        granter.leaveDealloc(isUnmappedFirst ? now : now - 1, fd, index)
        asks(machine)
        const { refs } = granter.alloc(fd, 2, 1)
        // If nobody maps it any more when it goes, its ref is the next one.
        if (isUnmappedFirst) expect(refs).toEqual([ref])
        else expect(refs).not.toEqual([ref])
      })
    }
  }
})

describe('an outbox', () => {
  test('is emptied before its client is released', ({ machine }) => {
    using one = new Writer(machine, 1)
    let granted: readonly number[] = []
    {
      using other = new Writer(machine, 1)
      const fd = other.open('gntalloc')
      const { index, refs } = other.alloc(fd, 2, 2)
      granted = refs
      other.leaveDealloc(nanoseconds(), fd, index + PAGE_SIZE)
    }
    // The last ref that came back is the first to go out again: that of the page left to the end.
    expect(one.alloc(one.open('gntalloc'), 2, 2).refs).toEqual(granted)
  })

  test('is given to a client once', ({ machine }) => {
    using one = new Writer(machine, 1)
    expect(one.call(OP.outbox, new BodyWriter().u64(nanoseconds())).result).toBe(-ERRNO.EEXIST)
  })

  test('is not for a client whose clock is another', ({ machine }) => {
    giveOrder(machine.directory, { order: 'domain', domid: 1 })
    using one = new RawClient(machine, 1)
    for (const time of [0, nanoseconds() + 3.6e12]) {
      expect(one.call(OP.outbox, new BodyWriter().u64(time)).result).toBe(-ERRNO.EINVAL)
    }
    expect(one.open('gntalloc')).toBeGreaterThanOrEqual(0)
  })

  test('is not for every one of many clients, and who has none asks', async ({ machine }) => {
    const many = Array.from({ length: OUTBOXES_MAX }, () => new Writer(machine, 1))
    try {
      giveOrder(machine.directory, { order: 'domain', domid: 2 })
      using one = new RawClient(machine, 2)
      expect(one.call(OP.outbox, new BodyWriter().u64(nanoseconds())).result).toBe(-ERRNO.EAGAIN)
      one.socket.openOutbox()
      expect(one.socket.hasOutbox).toBe(false)
      const fd = one.open('gntalloc')
      const { index } = one.alloc(fd, 2, 1)
      const bytes = gntalloc.encodeDeallocGref({ index, count: 1 })
      const body = one.socket.begin(OP.ioctl).u32(fd).u32(gntalloc.GNTALLOC_DEALLOC_GREF)
      encodeRanges(body.u64(ARGUMENT), [{ address: ARGUMENT, bytes, writable: true }])
      one.socket.queue()
      expect(one.dealloc(fd, index, 1)).toBe(-ERRNO.EINVAL)
      many.pop()?.[Symbol.dispose]()
      asks(machine)
      one.socket.openOutbox()
      expect(one.socket.hasOutbox).toBe(true)
    } finally {
      for (const client of many) client[Symbol.dispose]()
    }
  })
})

/** An outbox without a client. */
function lone(): { file: SharedFile; reader: OutboxReader } {
  const file = sealedMemfd('outbox', OUTBOX_BYTES)
  if (typeof file === 'number') throw new Error(`memfd: ${file}`)
  return { file, reader: new OutboxReader(1, file) }
}

test('a call that is left while the host looks at the others waits for the next time', () => {
  const { file, reader } = lone()
  const [before, after] = [nanoseconds() - 2, nanoseconds() - 1]
  file.words.set([after, after / 2 ** 32, OP.place, 0], FIRST_WORD)
  store(file.words, OUTBOX_LENGTH, 16)
  reader.take(before)
  expect(reader.time).toBe(after)
  expect(reader.isEmpty).toBe(false)
  // What comes then is taken behind it.
  file.words.set([after + 1, (after + 1) / 2 ** 32, OP.munmap, 0], FIRST_WORD)
  store(file.words, OUTBOX_LENGTH, 16)
  const now = nanoseconds()
  reader.take(now)
  expect([reader.next(now).op, reader.next(now).op]).toEqual([OP.place, OP.munmap])
  expect(reader.isEmpty).toBe(true)
  reader.close()
})

test('as many calls as may wait can be left behind one that waits for the next time', () => {
  const { file, reader } = lone()
  const time = nanoseconds()
  const leave = (count: number): void => {
    for (let i = 0; i < count; i++) {
      file.words.set([time, time / 2 ** 32, OP.place, 0], FIRST_WORD + 4 * i)
    }
    store(file.words, OUTBOX_LENGTH, 16 * count)
  }
  leave(1)
  reader.take(time - 1)
  leave(QUEUED_CALLS_MAX)
  reader.take(time)
  for (let i = 0; i <= QUEUED_CALLS_MAX; i++) expect(reader.next(time).op).toBe(OP.place)
  expect(reader.isEmpty).toBe(true)
  reader.close()
})

/** What lies in a hostile client's outbox; each must end that client, and nothing else. */
const LIES: readonly [name: string, lie: (client: Writer) => void][] = [
  ['more than there is room for', ({ outbox }) => store(outbox.words, OUTBOX_LENGTH, OUTBOX_BYTES)],
  ['no whole words', ({ outbox }) => store(outbox.words, OUTBOX_LENGTH, 30)],
  ['half a call', ({ outbox }) => store(outbox.words, OUTBOX_LENGTH, 8)],
  [
    'a body that ends behind it',
    client => {
      client.leaveMunmap(nanoseconds())
      store(client.outbox.words, OUTBOX_LENGTH, 24)
    },
  ],
  ['a call of the future', client => client.leaveMunmap(nanoseconds() + 3.6e12)],
  ['a call that must be asked', client => client.leave(nanoseconds(), OP.hello, munmap())],
  [
    'a call that answers something else',
    client => {
      client.leave(nanoseconds(), OP.munmap, new BodyWriter().u64(1).u64(0))
    },
  ],
  [
    'fields that are not of the call',
    client => {
      client.leave(nanoseconds(), OP.munmap, new BodyWriter().u64(1))
    },
  ],
  [
    'more calls than may wait',
    client => {
      for (let i = 0; i <= QUEUED_CALLS_MAX; i++) client.leaveMunmap(nanoseconds())
    },
  ],
]

describe('a client is none when it leaves', () => {
  for (const [name, lie] of LIES) {
    test(name, ({ machine }) => {
      using good = new Writer(machine, 1)
      using bad = new Writer(machine, 2)
      const { fd, index } = mapped(good, bad)
      lie(bad)
      good.leaveDealloc(nanoseconds(), fd, index)
      expect(good.isHeard).toBe(true)
      expect(bad.isHeard).toBe(false)
      expect(good.dealloc(fd, index, 1)).toBe(-ERRNO.EINVAL)
    })
  }
})
