import type { DeviceName } from '../abi/devices.ts'
import { DEVICE_NAMES } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import { EVTCHN_BIND_STATIC } from '../abi/evtchn.ts'
import { GNTALLOC_ALLOC_GREF } from '../abi/gntalloc.ts'
import {
  decodeMapGrantRefIndex,
  GNTDEV_GRANT_COPY,
  GNTDEV_MAP_GRANT_REF,
  MAP_GRANT_REF_SIZE,
} from '../abi/gntdev.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { ProtocolError } from '../base/errors.ts'
import { type FrameRun, NO_FRAME } from '../hypervisor/page-store.ts'
import type { Domain } from '../kernel/domain.ts'
import { GntallocFile } from '../kernel/gntalloc.ts'
import { GntdevFile } from '../kernel/gntdev.ts'
import type { GrantCopy } from '../kernel/gntdev-copy.ts'
import type { Machine } from '../kernel/machine.ts'
import type { Process } from '../kernel/process.ts'
import type { Answer, LongCall } from './answer.ts'
import type { ChunkStore } from './chunk-store.ts'
import { withCommand } from './knob.ts'
import { LateCalls } from './late-calls.ts'
import type { LimitPages } from './limit-pages.ts'
import { COPY_SLICE, QUEUED_PAGES_MAX, WRITES_SLICE } from './limits.ts'
import { PortEntry } from './links.ts'
import { ShownPages } from './shown-pages.ts'
import { decodeRanges, encodeWrites, Snapshot, writesEncoder } from './snapshot.ts'
import {
  BOUND,
  type BodyReader,
  type BodyWriter,
  NO_FD,
  OP,
  WIRE_MAGIC,
  WIRE_VERSION,
} from './wire.ts'

export interface SessionContext {
  readonly machine: Machine
  readonly chunks: ChunkStore
  /** What clients read of a domain's limits by themselves. */
  readonly limitPages: LimitPages
}

const ACCESS = ['read', 'write', 'readwrite'] as const
const NO_FRAMES: readonly FrameRun[] = []

/**
 * One client: a process of a domain. Every call arrives here as numbers and bytes that a hostile
 * program may have made up; each is read once, and what does not decode ends the session.
 */
export class Session {
  readonly process: Process
  readonly domain: Domain
  readonly #context: SessionContext
  /** Its hello has succeeded: other calls are taken, and an outbox may be had. */
  isGreeted = false
  readonly #lateCalls: LateCalls
  readonly #shown: ShownPages

  constructor(context: SessionContext, domain: Domain, pid: number) {
    this.#context = context
    this.domain = domain
    this.process = domain.createProcess({ pid })
    this.#lateCalls = new LateCalls(domain, context.limitPages)
    this.#shown = new ShownPages(context.chunks, this.process)
  }

  /** The first call. The lifeline is made when the versions agree. */
  greet(body: BodyReader, answer: BodyWriter, lifeline: () => number): Answer {
    const magic = body.u32()
    const version = body.u32()
    body.end()
    if (magic !== WIRE_MAGIC) throw new ProtocolError('ERR_HOST_PROTOCOL', 'not a client of ours')
    const { domid, kind, profile } = this.domain
    answer.u32(WIRE_VERSION).u32(domid)
    answer.u32(kind === 'pv' ? 0 : 1).text(profile.name)
    if (version !== WIRE_VERSION) return { result: -ERRNO.EPROTO }
    this.isGreeted = true
    const { fd } = this.#context.limitPages.of(this.domain)
    return { result: 0, ownedFds: [lifeline()], fds: [fd] }
  }

  /** One call: reads its fields, and writes those of its answer. */
  handle(op: number, body: BodyReader, answer: BodyWriter): Answer | LongCall {
    if (!this.isGreeted) throw new ProtocolError('ERR_HOST_PROTOCOL', 'a call before the greeting')
    switch (op) {
      case OP.none:
        body.end()
        return { result: 0 }
      case OP.open:
        return this.#open(body)
      case OP.ioctl:
        return this.#ioctl(body, answer)
      case OP.mmap:
        return this.#mmap(body, answer)
      case OP.munmap:
        return this.#munmap(body)
      case OP.protect:
        return this.#protect(body, answer)
      case OP.dup:
        return this.#descriptor(body, fd => this.process.dup(fd))
      case OP.close:
        return this.#descriptor(body, fd => this.process.close(fd))
      case OP.chunk:
        return this.#shown.chunk(body, answer)
      case OP.chunkMapped:
        return this.#shown.mapped(body)
      case OP.peer:
        return this.#peer(body, answer)
      case OP.explain:
        return this.#explain(body, answer)
      case OP.book:
        return this.#book(body)
      case OP.place:
        return this.#place(body)
      default:
        throw new ProtocolError('ERR_HOST_PROTOCOL', `unknown operation ${op}`)
    }
  }

  /** A call that the client did not wait for. */
  handleQueued(op: number, body: BodyReader, answer: BodyWriter): Answer | LongCall {
    // Which pages they are it knows, or would ask.
    if (op === OP.mmap) return this.#lateCalls.make(() => ({ result: this.#map(body).result }))
    if (op === OP.book) return this.#lateCalls.make(() => this.#book(body))
    return this.handle(op, body, answer)
  }

  /** The client is gone: what its kernel would do at its death. */
  release(): void {
    this.process.kill()
    this.#context.chunks.retire(this.process)
  }

  #open(body: BodyReader): Answer {
    const device = DEVICE_NAMES[body.u32()] as DeviceName | undefined
    const access = ACCESS[body.u32()]
    const nonblock = body.u32() !== 0
    body.end()
    if (!device || !access) return { result: -ERRNO.ENOENT }
    return { result: this.process.open(device, { access, nonblock }) }
  }

  #ioctl(body: BodyReader, answer: BodyWriter): Answer | LongCall {
    const fd = body.u32()
    const number = body.u32()
    const argument = body.u64()
    const memory = new Snapshot(decodeRanges(body))
    body.end()
    if (number === GNTDEV_GRANT_COPY) {
      const file = this.process.file(fd)
      const copy = file instanceof GntdevFile && file.beginCopy(argument, memory, this.process)
      if (typeof copy === 'object') return this.#copy(copy, memory, answer)
    }
    const result = this.process.ioctl(fd, number, argument, memory)
    encodeWrites(answer, memory.writes)
    if (result === 0 && number === GNTALLOC_ALLOC_GREF) this.#showAllocation(answer, fd)
    else answer.u32(0)
    const port = number === EVTCHN_BIND_STATIC && result === 0 ? memory.firstU32 : result
    const entry = port > 0 ? this.#ownPort(fd, port) : undefined
    if (!entry) {
      answer.u32(BOUND.nothing)
      return { result }
    }
    entry.isTold = true
    answer.u32(entry.isRaised ? BOUND.raised : BOUND.idle)
    describe(answer, entry)
    // Its receiver gets the descriptors of an inbox once.
    const { inbox } = entry
    if (inbox.isDelivered) return { result }
    inbox.isDelivered = true
    return { result, ...inbox.descriptors('read') }
  }

  /** A GRANT_COPY that fits a slice is answered at once. */
  #copy(copy: GrantCopy, memory: Snapshot, answer: BodyWriter): Answer | LongCall {
    let result = copy.step(COPY_SLICE)
    if (result !== undefined && !memory.manyWrites) {
      encodeWrites(answer, memory.writes)
      answer.u32(0).u32(0)
      return { result }
    }
    let encode: ((max: number) => boolean) | undefined
    return into => {
      result ??= copy.step(COPY_SLICE)
      if (result === undefined) return undefined
      encode ??= writesEncoder(into, memory.manyWrites ?? memory.writes)
      if (!encode(WRITES_SLICE)) return undefined
      into.u32(0).u32(0)
      return { result }
    }
  }

  /** After an ALLOC: what there is to be mapped, so that its mmap need not ask. */
  #showAllocation(answer: BodyWriter, fd: number): void {
    const file = this.process.file(fd)
    if (!(file instanceof GntallocFile)) {
      answer.u32(0)
      return
    }
    this.#shown.announce(answer)
    answer.u64(file.latest.index)
    this.#shown.write(answer, file.latest.frames)
  }

  /**
   * A map that the client booked by itself: it knows the index. The limit that it saw is the one
   * that counts, since it was in force when its ioctl returned.
   */
  #book(body: BodyReader): Answer {
    const fd = body.u32()
    const index = body.u64()
    const { bytes, at, length } = body.place()
    body.end()
    const { limits } = this.domain
    const limit = limits['gntdev.limit']
    const address = 0
    const memory = new Snapshot([{ address, writable: true, bytes, at, length }])
    if (memory.firstU32 > QUEUED_PAGES_MAX) return { result: -ERRNO.EPROTO }
    limits['gntdev.limit'] = Number.MAX_SAFE_INTEGER
    try {
      const result = this.process.ioctl(fd, GNTDEV_MAP_GRANT_REF, address, memory)
      const answered = memory.read(address, MAP_GRANT_REF_SIZE)
      const isAsBooked = result === 0 && answered && decodeMapGrantRefIndex(answered) === index
      return { result: isAsBooked ? 0 : -ERRNO.EPROTO }
    } finally {
      limits['gntdev.limit'] = limit
    }
  }

  #mmap(body: BodyReader, answer: BodyWriter): Answer {
    const { fd, address, length, result } = this.#map(body)
    if (result < 0) return { result }
    const frames = this.process.vma(address)?.frames ?? NO_FRAMES
    if (this.#shown.write(answer, frames)) return { result }
    answer.cut()
    this.process.munmap(address, length)
    const file = this.process.file(fd)
    const { refusal } = this.#shown
    if (file && refusal) file.facts = refusal
    return { result: refusal ? -ERRNO.ENOMEM : -ERRNO.EINVAL }
  }

  #map(body: BodyReader): { fd: number; address: number; length: number; result: number } {
    const fd = body.u32()
    const address = body.u64()
    const offset = body.u64()
    const length = body.u64()
    const prot = body.u32()
    const flags = body.u32()
    body.end()
    const result = this.process.mmap(fd, { address, offset, length, prot, flags })
    return { fd, address, length, result }
  }

  #munmap(body: BodyReader): Answer {
    const address = body.u64()
    const length = body.u64()
    body.end()
    return { result: this.process.munmap(address, length) }
  }

  #place(body: BodyReader): Answer {
    const address = body.u64()
    const length = body.u64()
    const to = body.u64()
    body.end()
    return { result: this.process.place(address, length, to) }
  }

  #protect(body: BodyReader, answer: BodyWriter): Answer {
    const address = body.u64()
    const length = body.u64()
    const prot = body.u32()
    body.end()
    const result = this.process.protect(address, length, prot)
    if (result < 0) return { result }
    // Pages that the kernel took away by this (pv): the client must not go on showing them.
    const at: number[] = []
    const end = address + length
    for (let vma = this.process.vma(address); vma && vma.start < end; ) {
      let page = vma.start
      for (const { first, count } of vma.frames) {
        const next = page + count * PAGE_SIZE
        for (; page < next; page += PAGE_SIZE) if (first === NO_FRAME) at.push(page)
      }
      vma = this.process.vma(vma.end)
    }
    answer.u32(at.length)
    for (const page of at) answer.u64(page)
    return { result }
  }

  #descriptor(body: BodyReader, call: (fd: number) => number): Answer {
    const fd = body.u32()
    body.end()
    return { result: call(fd) }
  }

  #peer(body: BodyReader, answer: BodyWriter): Answer {
    const fd = body.u32()
    const port = body.u32()
    body.end()
    const entry = this.#ownPort(fd, port)
    const { machine } = this.#context
    const peer = entry?.peer && machine.domain(entry.peer.domid)?.ports.end(entry.peer.port)
    if (!entry || !(peer instanceof PortEntry)) return { result: -ERRNO.ENOTCONN }
    answer.u32(entry.serial)
    describe(answer, peer)
    return { result: 0, ...peer.inbox.descriptors('write') }
  }

  /** A port of this process, bound through its own descriptor `fd`. */
  #ownPort(fd: number, port: number): PortEntry | undefined {
    const entry = this.domain.ports.end(port)
    return entry instanceof PortEntry && this.process.file(fd) === entry.file ? entry : undefined
  }

  #explain(body: BodyReader, answer: BodyWriter): Answer {
    const fd = body.u32()
    body.end()
    const facts = withCommand(this.domain, this.process.explain(fd === NO_FD ? undefined : fd))
    answer.text(JSON.stringify(facts ?? null))
    return { result: 0 }
  }
}

/** Where a port is: inbox, slot, port. */
function describe(answer: BodyWriter, { inbox, slot, port }: PortEntry): void {
  answer.u32(inbox.id).u32(slot).u32(port)
}
