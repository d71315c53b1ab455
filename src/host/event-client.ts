import { ERRNO } from '../abi/errno.ts'
import { encodeU32 } from '../abi/evtchn.ts'
import { XenError } from '../base/errors.ts'
import { EventRing } from '../kernel/event-ring.ts'
import { exchange, load } from '../memory/atomics.ts'
import { close, read } from '../native/files.ts'
import { epoll, epollAdd, epollDelete, POLLIN } from '../native/waiting.ts'
import type { CallSocket, Reply } from './call-socket.ts'
import { LOOK_AT_ALL, postTo } from './inbox.ts'
import { LINK_SLOTS } from './limits.ts'
import { mapFile, type SharedFile } from './memfd.ts'
import { SharedPortBits } from './shared-port-bits.ts'
import { OP } from './wire.ts'

/** An inbox that we read: pipe, states, and which of our ports are connected. */
interface InboxReader {
  readonly id: number
  readonly pipe: number
  readonly states: SharedFile
  readonly connections: SharedFile
  readonly ports: Set<number>
}

/** An inbox of a peer that we write to; shared by our ports that are connected into it. */
interface InboxWriter {
  readonly id: number
  readonly pipe: number
  readonly states: SharedFile
  users: number
}

/** The way to a peer's port, good while the connection still has this serial number. */
interface Outbound {
  readonly serial: number
  readonly inbox: InboxWriter
  readonly bits: SharedPortBits
  readonly message: Uint8Array
}

interface ClientPort {
  readonly inbox: InboxReader
  readonly slot: number
  readonly bits: SharedPortBits
  out: Outbound | undefined
}

/** Inboxes of peers that this process writes to; they outlive a descriptor's single port. */
export class InboxWriters {
  readonly #byId = new Map<number, InboxWriter>()

  /** Takes the inbox of an answer; its descriptors are there only when it is new to us. */
  take(id: number, fds: readonly number[]): InboxWriter {
    const known = this.#byId.get(id)
    if (known) {
      for (const fd of fds) close(fd)
      known.users++
      return known
    }
    const [pipe, states] = fds
    if (pipe === undefined || states === undefined) throw new XenError(-ERRNO.EPROTO, 'host peer')
    const writer = { id, pipe, states: mapped(states, true), users: 1 }
    this.#byId.set(id, writer)
    return writer
  }

  release(writer: InboxWriter): void {
    if (--writer.users > 0) return
    this.#byId.delete(writer.id)
    close(writer.pipe)
    writer.states.close()
  }
}

/**
 * The events of one descriptor of /dev/xen/evtchn, on the client's side. What a real driver learns
 * by an interrupt this learns from its inboxes, which it drains before each call; a notification
 * goes straight into the peer's inbox, without the host.
 */
export class EventClient {
  readonly ring: EventRing
  /** Readable when any inbox is: what a waiter watches. */
  readonly epoll: number
  readonly #socket: CallSocket
  readonly #writers: InboxWriters
  readonly #ports = new Map<number, ClientPort>()
  readonly #inboxes = new Map<number, InboxReader>()
  readonly #buffer = new Uint8Array(4096)

  constructor(socket: CallSocket, writers: InboxWriters, wake: () => void) {
    this.#socket = socket
    this.#writers = writers
    this.ring = new EventRing(wake)
    this.epoll = epoll()
    if (this.epoll < 0) throw new XenError(this.epoll, 'epoll_create1')
  }

  /** Takes in a port that the host has bound, from the tail of its answer. */
  bound(port: number, { body, fds }: Reply): void {
    const id = body.u32()
    const slot = body.u32()
    body.u32()
    const inbox = this.#reader(id, fds)
    inbox.ports.add(port)
    const bits = new SharedPortBits(inbox.states.words, slot)
    this.#ports.set(port, { inbox, slot, bits, out: undefined })
    this.ring.bind(port, bits)
  }

  /** Lets a port go that the host has unbound. */
  unbound(port: number): void {
    const bound = this.#ports.get(port)
    if (!bound) return
    this.#ports.delete(port)
    this.ring.unbind(port)
    this.#forget(bound)
    bound.inbox.ports.delete(port)
    if (bound.inbox.ports.size === 0) this.#closeInbox(bound.inbox)
  }

  /**
   * NOTIFY through the descriptor `fd`, one of possibly many of the same file: 0 whether or not
   * somebody is there, -ENOTCONN for a port that is not bound here.
   */
  notify(fd: number, port: number): number {
    const bound = this.#ports.get(port)
    if (!bound) return -ERRNO.ENOTCONN
    const serial = load(bound.inbox.connections.words, bound.slot)
    if (serial === 0) {
      this.#forget(bound)
      return 0
    }
    const out = bound.out?.serial === serial ? bound.out : this.#connect(bound, fd, port)
    if (out?.bits.send()) postTo(out.inbox.pipe, out.inbox.states.words, out.message)
    return 0
  }

  /** Moves what has arrived from the inboxes into the ring. */
  drain(): void {
    for (const inbox of this.#inboxes.values()) this.#drainInbox(inbox)
  }

  close(): void {
    for (const port of [...this.#ports.keys()]) this.unbound(port)
    close(this.epoll)
  }

  #drainInbox(inbox: InboxReader): void {
    const { states } = inbox
    for (;;) {
      const length = read(inbox.pipe, this.#buffer)
      if (length <= 0) break
      for (let at = 0; at + 4 <= length; at += 4) this.#arrived(inbox, wordAt(this.#buffer, at))
      // A sender that writes pieces of a port number confuses its own inbox only: look at all.
      if (length % 4 !== 0) exchange(states.words, LOOK_AT_ALL, 1)
      if (length < this.#buffer.byteLength) break
    }
    if (load(states.words, LOOK_AT_ALL) === 0) return
    exchange(states.words, LOOK_AT_ALL, 0)
    for (const port of inbox.ports) this.#arrived(inbox, port)
  }

  /** A message says that `port` was sent to; its word must say so too, or it is no message. */
  #arrived(inbox: InboxReader, port: number): void {
    const bound = this.#ports.get(port)
    if (bound?.inbox === inbox && bound.bits.isMasked) this.ring.arrived(port)
  }

  #connect(bound: ClientPort, fd: number, port: number): Outbound | undefined {
    this.#forget(bound)
    this.#socket.begin(OP.peer).u32(fd).u32(port)
    const { result, body, fds } = this.#socket.call()
    if (result < 0) return undefined
    const serial = body.u32()
    const inbox = this.#writers.take(body.u32(), fds)
    const bits = new SharedPortBits(inbox.states.words, body.u32())
    bound.out = { serial, inbox, bits, message: encodeU32(body.u32()) }
    return bound.out
  }

  #forget(bound: ClientPort): void {
    if (!bound.out) return
    this.#writers.release(bound.out.inbox)
    bound.out = undefined
  }

  #reader(id: number, fds: readonly number[]): InboxReader {
    const known = this.#inboxes.get(id)
    if (known) {
      for (const fd of fds) close(fd)
      return known
    }
    const [pipe, states, connections] = fds
    if (pipe === undefined || states === undefined || connections === undefined) {
      throw new XenError(-ERRNO.EPROTO, 'host bind')
    }
    const inbox = {
      id,
      pipe,
      states: mapped(states, true),
      connections: mapped(connections, false),
      ports: new Set<number>(),
    }
    this.#inboxes.set(id, inbox)
    epollAdd(this.epoll, pipe, POLLIN)
    return inbox
  }

  #closeInbox(inbox: InboxReader): void {
    this.#inboxes.delete(inbox.id)
    epollDelete(this.epoll, inbox.pipe)
    close(inbox.pipe)
    inbox.states.close()
    inbox.connections.close()
  }
}

function wordAt(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) |
      ((bytes[at + 1] ?? 0) << 8) |
      ((bytes[at + 2] ?? 0) << 16) |
      ((bytes[at + 3] ?? 0) << 24)) >>>
    0
  )
}

function mapped(fd: number, writable: boolean): SharedFile {
  const file = mapFile(fd, LINK_SLOTS * 4, writable)
  if (typeof file === 'number') throw new XenError(file, 'mmap event channel')
  return file
}
