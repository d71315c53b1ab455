import type { DeviceName } from '../abi/devices.ts'
import { DEVICE_NAMES } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import { EVTCHN_BIND_STATIC } from '../abi/evtchn.ts'
import { decodeAllocGref, decodeAllocGrefReply, GNTALLOC_ALLOC_GREF } from '../abi/gntalloc.ts'
import { decodeMapGrantRefIndex, GNTDEV_MAP_GRANT_REF } from '../abi/gntdev.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { type ErrorFacts, ProtocolError } from '../base/errors.ts'
import type { Frame } from '../hypervisor/page-store.ts'
import type { Domain } from '../kernel/domain.ts'
import { GntallocFile } from '../kernel/gntalloc.ts'
import type { Machine } from '../kernel/machine.ts'
import type { Process } from '../kernel/process.ts'
import { NO_FRAME } from '../kernel/vma.ts'
import { addSeals, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL } from '../native/files.ts'
import type { Chunk, ChunkStore } from './chunk-store.ts'
import type { Inbox } from './inbox.ts'
import type { Links, PortEntry } from './links.ts'
import type { Memfd } from './memfd.ts'
import { decodeRanges, encodeWrites, Snapshot } from './snapshot.ts'
import { type BodyReader, BodyWriter, OP, WIRE_MAGIC, WIRE_VERSION } from './wire.ts'

/** What a request is answered with. */
export interface Answer {
  readonly result: number
  readonly body?: Uint8Array
  /** Descriptors that stay open here. */
  readonly fds?: readonly number[]
  /** Descriptors that were made for this answer. */
  readonly ownedFds?: readonly number[]
}

export interface SessionContext {
  readonly machine: Machine
  readonly chunks: ChunkStore
  readonly links: Links
  /** What clients read of a domain's limits by themselves. */
  limitsOf(domain: Domain): Memfd
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

  constructor(context: SessionContext, domain: Domain, pid: number) {
    this.#context = context
    this.domain = domain
    this.process = domain.createProcess({ pid })
  }

  handle(op: number, body: BodyReader, lifeline: () => number): Answer {
    if (op === OP.hello) return this.#hello(body, lifeline)
    if (!this.#isGreeted) throw new ProtocolError('ERR_HOST_PROTOCOL', 'a call before the greeting')
    switch (op) {
      case OP.open:
        return this.#open(body)
      case OP.ioctl:
        return this.#ioctl(body)
      case OP.mmap:
        return this.#mmap(body)
      case OP.munmap:
        return this.#munmap(body)
      case OP.protect:
        return this.#protect(body)
      case OP.dup:
        return this.#descriptor(body, fd => this.process.dup(fd))
      case OP.close:
        return this.#descriptor(body, fd => this.process.close(fd))
      case OP.chunk:
        return this.#chunk(body)
      case OP.chunkMapped:
        return this.#chunkMapped(body)
      case OP.peer:
        return this.#peer(body)
      case OP.explain:
        return this.#explain(body)
      case OP.book:
        return this.#book(body)
      default:
        throw new ProtocolError('ERR_HOST_PROTOCOL', `unknown operation ${op}`)
    }
  }

  /** The client is gone: what its kernel would do at its death. */
  release(): void {
    this.process.kill()
    this.#context.chunks.retire(this.process)
  }

  #hello(body: BodyReader, lifeline: () => number): Answer {
    const magic = body.u32()
    const version = body.u32()
    body.end()
    if (magic !== WIRE_MAGIC) throw new ProtocolError('ERR_HOST_PROTOCOL', 'not a client of ours')
    const answer = new BodyWriter()
      .u32(WIRE_VERSION)
      .u32(this.domain.domid)
      .u32(this.domain.kind === 'pv' ? 0 : 1)
      .text(this.domain.profile.name)
      .finish()
    if (version !== WIRE_VERSION) return { result: -ERRNO.EPROTO, body: answer }
    this.#isGreeted = true
    return {
      result: 0,
      body: answer,
      ownedFds: [lifeline()],
      fds: [this.#context.limitsOf(this.domain).fd],
    }
  }

  #open(body: BodyReader): Answer {
    const device = DEVICE_NAMES[body.u32()] as DeviceName | undefined
    const access = ACCESS[body.u32()]
    const nonblock = body.u32() !== 0
    body.end()
    if (!device || !access) return { result: -ERRNO.ENOENT }
    return { result: this.process.open(device, { access, nonblock }) }
  }

  #ioctl(body: BodyReader): Answer {
    const fd = body.u32()
    const number = body.u32()
    const argument = body.u64()
    const memory = new Snapshot(decodeRanges(body))
    body.end()
    const result = this.process.ioctl(fd, number, argument, memory)
    const answer = new BodyWriter()
    encodeWrites(answer, memory.writes)
    if (result === 0) this.#announceChunks(answer, fd, number, memory)
    else answer.u32(0)
    const port = number === EVTCHN_BIND_STATIC && result === 0 ? memory.firstU32 : result
    const entry = port > 0 ? this.#ownPort(fd, port) : undefined
    if (!entry) {
      answer.u32(0)
      return { result, body: answer.finish() }
    }
    answer.u32(1)
    return { result, ...this.#describePort(answer, entry) }
  }

  /** After an ALLOC: the chunks that this process must map before they can be sealed. */
  #announceChunks(answer: BodyWriter, fd: number, number: number, memory: Snapshot): void {
    const file = number === GNTALLOC_ALLOC_GREF ? this.process.file(fd) : undefined
    const allocation = memory.writes[0]?.bytes
    if (!(file instanceof GntallocFile) || !allocation) {
      answer.u32(0)
      return
    }
    const ids = this.#context.chunks.unmappedOf(this.process)
    answer.u32(ids.length)
    for (const id of ids) {
      this.#context.chunks.chunk(id)?.holders.add(this.process)
      answer.u32(id)
    }
    const { count } = decodeAllocGref(allocation)
    const { index } = decodeAllocGrefReply(allocation, 0)
    answer.u64(index)
    this.#writePlaces(answer, count === 0 ? [] : file.framesAt(index, count))
  }

  /** Pages by chunk and slot. Answers false when a chunk of them cannot be shown yet. */
  #writePlaces(answer: BodyWriter, frames: readonly Frame[]): boolean {
    answer.u32(frames.length)
    for (const frame of frames) {
      const chunk = frame < 0 ? undefined : this.#context.chunks.chunkOf(frame)
      if (chunk && !this.#entitle(chunk)) return false
      answer.u32(chunk?.id ?? 0).u32(chunk ? frame - chunk.first : 0)
    }
    return true
  }

  /**
   * A map that the client booked by itself: it knows the index. The limit that it saw is the one
   * that counts, since it was in force when its ioctl returned.
   */
  #book(body: BodyReader): Answer {
    const fd = body.u32()
    const index = body.u64()
    const argument = body.bytes()
    body.end()
    const { limits } = this.domain
    const limit = limits['gntdev.limit']
    const address = 0
    const memory = new Snapshot([{ address, bytes: argument, writable: true }])
    limits['gntdev.limit'] = Number.MAX_SAFE_INTEGER
    try {
      const result = this.process.ioctl(fd, GNTDEV_MAP_GRANT_REF, address, memory)
      const isAsBooked = result === 0 && decodeMapGrantRefIndex(argument) === index
      return { result: isAsBooked ? 0 : -ERRNO.EPROTO }
    } finally {
      limits['gntdev.limit'] = limit
    }
  }

  #mmap(body: BodyReader): Answer {
    const fd = body.u32()
    const address = body.u64()
    const offset = body.u64()
    const length = body.u64()
    const prot = body.u32()
    const flags = body.u32()
    body.end()
    const result = this.process.mmap(fd, { address, offset, length, prot, flags })
    if (result < 0) return { result }
    const frames = this.process.vma(address)?.frames ?? []
    const answer = new BodyWriter(16 + 8 * frames.length)
    if (this.#writePlaces(answer, frames)) return { result, body: answer.finish() }
    this.process.munmap(address, length)
    return { result: -ERRNO.EINVAL }
  }

  /** Lets this process have a chunk's descriptor; false while its granter is not ready for that. */
  #entitle(chunk: Chunk): boolean {
    if (chunk.holders.has(this.process)) return true
    const { placement, memfd } = chunk
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

  #protect(body: BodyReader): Answer {
    const address = body.u64()
    const length = body.u64()
    const prot = body.u32()
    body.end()
    const result = this.process.protect(address, length, prot)
    if (result < 0) return { result }
    // Pages that the kernel took away by this (pv): the client must not go on showing them.
    const lost = new BodyWriter()
    const at: number[] = []
    const end = address + length
    for (let vma = this.process.vma(address); vma && vma.start < end; ) {
      for (const [i, frame] of vma.frames.entries()) {
        if (frame === NO_FRAME) at.push(vma.start + i * PAGE_SIZE)
      }
      vma = this.process.vma(vma.end)
    }
    lost.u32(at.length)
    for (const page of at) lost.u64(page)
    return { result, body: lost.finish() }
  }

  #descriptor(body: BodyReader, call: (fd: number) => number): Answer {
    const fd = body.u32()
    body.end()
    return { result: call(fd) }
  }

  #chunk(body: BodyReader): Answer {
    const id = body.u32()
    body.end()
    const chunk = this.#context.chunks.chunk(id)
    if (!chunk?.holders.has(this.process)) return { result: -ERRNO.ENOENT }
    const isGranter = chunk.placement.process === this.process
    const answer = new BodyWriter()
      .u32(chunk.pages)
      .u32(chunk.placement.writable ? 1 : 0)
      .u32(isGranter ? 1 : 0)
      .finish()
    return { result: 0, body: answer, fds: [chunk.memfd.fd] }
  }

  #chunkMapped(body: BodyReader): Answer {
    const chunk = this.#context.chunks.chunk(body.u32())
    body.end()
    if (chunk?.placement.process !== this.process) return { result: -ERRNO.ENOENT }
    this.#context.chunks.setGranterMapped(chunk)
    return { result: 0 }
  }

  #peer(body: BodyReader): Answer {
    const fd = body.u32()
    const port = body.u32()
    body.end()
    const entry = this.#ownPort(fd, port)
    const peer = entry?.peer && this.#context.links.find(entry.peer.domid, entry.peer.port)
    if (!entry || !peer) return { result: -ERRNO.ENOTCONN }
    const answer = new BodyWriter().u32(entry.serial)
    return { result: 0, ...this.#describeInbox(answer, peer, 'write') }
  }

  /** A port of this process, bound through its own descriptor `fd`. */
  #ownPort(fd: number, port: number): PortEntry | undefined {
    const entry = this.#context.links.find(this.domain.domid, port)
    return entry && this.process.file(fd) === entry.file ? entry : undefined
  }

  #describePort(answer: BodyWriter, entry: PortEntry): Omit<Answer, 'result'> {
    return this.#describeInbox(answer, entry, 'read')
  }

  /** Where a port is: inbox, slot, port; and its descriptors, which a receiver gets once. */
  #describeInbox(
    answer: BodyWriter,
    entry: PortEntry,
    end: 'read' | 'write',
  ): Omit<Answer, 'result'> {
    const { inbox } = entry
    const body = answer.u32(inbox.id).u32(entry.slot).u32(entry.port).finish()
    if (end === 'read') {
      if (inbox.isDelivered) return { body }
      inbox.isDelivered = true
    }
    return { body, ...inboxDescriptors(inbox, end) }
  }

  #explain(body: BodyReader): Answer {
    const fd = body.u32()
    body.end()
    const facts = this.#withCommand(this.process.explain(fd))
    return { result: 0, body: new BodyWriter().text(JSON.stringify(facts ?? null)).finish() }
  }

  /** On a host there is a command that turns the knob. */
  #withCommand(facts: ErrorFacts | undefined): ErrorFacts | undefined {
    if (facts?.knob === undefined) return facts
    const needed = (facts.used ?? 0) + (facts.wanted ?? 0)
    const value = Math.max((facts.limitValue ?? 0) * 2, needed, 1)
    const command = `interdom host set ${this.domain.domid} ${facts.knob} ${value}`
    return { ...facts, fix: `raise it with: ${command}` }
  }
}

/** A receiver gets the pipe to read, the states, and its connections; a sender the first two. */
function inboxDescriptors(inbox: Inbox, end: 'read' | 'write'): Omit<Answer, 'result' | 'body'> {
  const shared = [inbox.statesMemfd.fd]
  if (end === 'read') shared.push(inbox.connectionsMemfd.fd)
  return { ownedFds: [inbox.openEnd(end)], fds: shared }
}
