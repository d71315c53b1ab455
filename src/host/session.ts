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
import { type ErrorFacts, ProtocolError } from '../base/errors.ts'
import type { Frame } from '../hypervisor/page-store.ts'
import type { Domain } from '../kernel/domain.ts'
import { GntallocFile } from '../kernel/gntalloc.ts'
import { GntdevFile } from '../kernel/gntdev.ts'
import type { GrantCopy } from '../kernel/gntdev-copy.ts'
import type { Machine } from '../kernel/machine.ts'
import type { Process } from '../kernel/process.ts'
import { NO_FRAME } from '../kernel/vma.ts'
import { addSeals, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL } from '../native/files.ts'
import type { Answer, LongCall } from './answer.ts'
import type { Chunk, ChunkStore } from './chunk-store.ts'
import { withCommand } from './knob.ts'
import { LateCalls } from './late-calls.ts'
import type { LimitPages } from './limit-pages.ts'
import { COPY_SLICE, QUEUED_PAGES_MAX, WRITES_SLICE } from './limits.ts'
import type { Links, PortEntry } from './links.ts'
import { decodeRanges, encodeWrites, Snapshot, writesEncoder } from './snapshot.ts'
import { type BodyReader, type BodyWriter, NO_FD, OP, WIRE_MAGIC, WIRE_VERSION } from './wire.ts'

export interface SessionContext {
  readonly machine: Machine
  readonly chunks: ChunkStore
  readonly links: Links
  /** What clients read of a domain's limits by themselves. */
  readonly limitPages: LimitPages
}

const FUTURE_WRITE_SEALS = F_SEAL_FUTURE_WRITE | F_SEAL_SEAL
const ACCESS = ['read', 'write', 'readwrite'] as const

/**
 * One client: a process of a domain. Every call arrives here as numbers and bytes that a hostile
 * program may have made up; each is read once, and what does not decode ends the session.
 */
export class Session {
  readonly process: Process
  readonly domain: Domain
  readonly #context: SessionContext
  #isGreeted = false
  readonly #lateCalls: LateCalls
  /** Why a chunk could not be shown, when there is more to say than that. */
  #refusal: ErrorFacts | undefined

  constructor(context: SessionContext, domain: Domain, pid: number) {
    this.#context = context
    this.domain = domain
    this.process = domain.createProcess({ pid })
    this.#lateCalls = new LateCalls(domain, context.limitPages)
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
    this.#isGreeted = true
    const { fd } = this.#context.limitPages.of(this.domain)
    return { result: 0, ownedFds: [lifeline()], fds: [fd] }
  }

  /** One call: reads its fields, and writes those of its answer. */
  handle(op: number, body: BodyReader, answer: BodyWriter): Answer | LongCall {
    if (!this.#isGreeted) throw new ProtocolError('ERR_HOST_PROTOCOL', 'a call before the greeting')
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
        return this.#chunk(body, answer)
      case OP.chunkMapped:
        return this.#chunkMapped(body)
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
    const takesRoom = op === OP.book || op === OP.mmap
    if (!takesRoom) return this.handle(op, body, answer)
    return this.#lateCalls.make(() => this.handle(op, body, answer))
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
    if (result === 0 && number === GNTALLOC_ALLOC_GREF) this.#announceChunks(answer, fd, memory)
    else answer.u32(0)
    const port = number === EVTCHN_BIND_STATIC && result === 0 ? memory.firstU32 : result
    const entry = port > 0 ? this.#ownPort(fd, port) : undefined
    answer.u32(entry ? 1 : 0)
    return entry ? { result, ...this.#describeInbox(answer, entry, 'read') } : { result }
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

  /** After an ALLOC: the chunks that this process must map before they can be sealed; the pages. */
  #announceChunks(answer: BodyWriter, fd: number, memory: Snapshot): void {
    const file = this.process.file(fd)
    const write = memory.writes[0]
    if (!(file instanceof GntallocFile) || !write) {
      answer.u32(0)
      return
    }
    const chunks = this.#context.chunks.unmappedOf(this.process)
    answer.u32(chunks.length)
    for (const { id, holders } of chunks) {
      holders.add(this.process)
      answer.u32(id)
    }
    const { grants } = this.domain.xen
    const { index, refs } = file.latest
    answer.u64(index)
    this.#writeRuns(answer, refs.length, i => grants.frame(refs[i] as number))
  }

  /**
   * Pages as runs within chunks, the longest that there are. Answers false when a chunk of them
   * cannot be shown yet.
   */
  #writeRuns(answer: BodyWriter, pages: number, frameOf: (page: number) => Frame): boolean {
    const at = answer.length
    answer.u32(0)
    let runs = 0
    for (let i = 0; i < pages; runs++) {
      const first = frameOf(i)
      const chunk = first < 0 ? undefined : this.#context.chunks.chunkOf(first)
      if (chunk && !this.#entitle(chunk)) return false
      const step = chunk ? 1 : 0
      const max = Math.min(pages - i, chunk ? chunk.first + chunk.pages - first : pages)
      let count = 1
      while (count < max && frameOf(i + count) === first + step * count) count++
      answer
        .u32(chunk?.id ?? 0)
        .u32(chunk ? first - chunk.first : 0)
        .u32(count)
      i += count
    }
    answer.replaceU32(at, runs)
    return true
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
    const fd = body.u32()
    const address = body.u64()
    const offset = body.u64()
    const length = body.u64()
    const prot = body.u32()
    const flags = body.u32()
    body.end()
    const result = this.process.mmap(fd, { address, offset, length, prot, flags })
    if (result < 0) return { result }
    const vma = this.process.vma(address)
    const pages = vma?.backing ? vma.length / PAGE_SIZE : 0
    const frameOf = (page: number): Frame => vma?.frame(vma.firstPage + page) ?? NO_FRAME
    if (this.#writeRuns(answer, pages, frameOf)) return { result }
    answer.cut()
    this.process.munmap(address, length)
    const file = this.process.file(fd)
    if (file && this.#refusal) file.facts = this.#refusal
    return { result: this.#refusal ? -ERRNO.ENOMEM : -ERRNO.EINVAL }
  }

  /** Lets this process have a chunk's descriptor; false while its granter is not ready for that. */
  #entitle(chunk: Chunk): boolean {
    this.#refusal = undefined
    if (chunk.holders.has(this.process)) return true
    const { placement, memfd } = chunk
    this.#refusal = this.#context.chunks.share(chunk, this.domain.domid)
    if (this.#refusal) return false
    if (placement.process !== this.process) {
      if (!placement.writable) {
        if (!chunk.isGranterMapped) return false
        // A granter that sealed its chunk against sealing has nothing that could be shown.
        const isSealed = chunk.isShared || addSeals(memfd.fd, FUTURE_WRITE_SEALS) >= 0
        if (!isSealed) return false
      }
      chunk.isShared = true
    } else if (placement.grantee === this.domain.domid) {
      chunk.isShared = true
    }
    chunk.holders.add(this.process)
    return true
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
      for (const [i, frame] of vma.frames.entries()) {
        if (frame === NO_FRAME) at.push(vma.start + i * PAGE_SIZE)
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

  #chunk(body: BodyReader, answer: BodyWriter): Answer {
    const id = body.u32()
    body.end()
    const chunk = this.#context.chunks.chunk(id)
    if (!chunk?.holders.has(this.process)) return { result: -ERRNO.ENOENT }
    const isGranter = chunk.placement.process === this.process
    answer.u32(chunk.pages).u32(chunk.placement.writable ? 1 : 0)
    answer.u32(isGranter ? 1 : 0)
    return { result: 0, fds: [chunk.memfd.fd] }
  }

  #chunkMapped(body: BodyReader): Answer {
    const chunk = this.#context.chunks.chunk(body.u32())
    body.end()
    if (chunk?.placement.process !== this.process) return { result: -ERRNO.ENOENT }
    this.#context.chunks.setGranterMapped(chunk)
    return { result: 0 }
  }

  #peer(body: BodyReader, answer: BodyWriter): Answer {
    const fd = body.u32()
    const port = body.u32()
    body.end()
    const entry = this.#ownPort(fd, port)
    const peer = entry?.peer && this.#context.links.find(entry.peer.domid, entry.peer.port)
    if (!entry || !peer) return { result: -ERRNO.ENOTCONN }
    answer.u32(entry.serial)
    return { result: 0, ...this.#describeInbox(answer, peer, 'write') }
  }

  /** A port of this process, bound through its own descriptor `fd`. */
  #ownPort(fd: number, port: number): PortEntry | undefined {
    const entry = this.#context.links.find(this.domain.domid, port)
    return entry && this.process.file(fd) === entry.file ? entry : undefined
  }

  /** Where a port is: inbox, slot, port; and its descriptors, which a receiver gets once. */
  #describeInbox(
    answer: BodyWriter,
    entry: PortEntry,
    end: 'read' | 'write',
  ): Omit<Answer, 'result'> {
    const { inbox } = entry
    answer.u32(inbox.id).u32(entry.slot).u32(entry.port)
    if (end === 'read') {
      if (inbox.isDelivered) return {}
      inbox.isDelivered = true
    }
    return inbox.descriptors(end)
  }

  #explain(body: BodyReader, answer: BodyWriter): Answer {
    const fd = body.u32()
    body.end()
    const facts = withCommand(this.domain, this.process.explain(fd === NO_FD ? undefined : fd))
    answer.text(JSON.stringify(facts ?? null))
    return { result: 0 }
  }
}
