import { ERRNO } from '../abi/errno.ts'
import { encodeU32 } from '../abi/evtchn.ts'
import { XenError } from '../base/errors.ts'
import { EventRing } from '../kernel/event-ring.ts'
import type { KernelRules } from '../kernel/profiles.ts'
import { load } from '../memory/atomics.ts'
import { close } from '../native/files.ts'
import { epoll, epollAdd, epollDelete, POLLIN, poll } from '../native/waiting.ts'
import type { Result } from '../platform.ts'
import type { CallSocket, Reply } from './call-socket.ts'
import { postTo } from './inbox.ts'
import { InboxReader, mapped } from './inbox-reader.ts'
import type { SharedFile } from './memfd.ts'
import { SharedPortBits } from './shared-port-bits.ts'
import { OP } from './wire.ts'

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

/** A port of ours, and the way to its peer once there was something to send. */
class ClientPort extends SharedPortBits {
  readonly inbox: InboxReader
  out: Outbound | undefined

  constructor(inbox: InboxReader, slot: number) {
    super(inbox.states.words, slot)
    this.inbox = inbox
  }
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
  readonly ring: EventRing<ClientPort>
  /** Readable when any inbox is: what a blocking read waits for. */
  readonly #epoll: number
  readonly #socket: CallSocket
  readonly #writers: InboxWriters
  readonly #inboxes = new Map<number, InboxReader>()
  /** Inboxes that the event loop does not watch, since nobody waited when they last told. */
  readonly #unwatched = new Set<InboxReader>()
  #isListening = false

  constructor(rules: KernelRules, socket: CallSocket, writers: InboxWriters, wake: () => void) {
    this.#socket = socket
    this.#writers = writers
    this.ring = new EventRing(rules, wake)
    this.#epoll = epoll()
    if (this.#epoll < 0) throw new XenError(this.#epoll, 'epoll_create1')
  }

  /**
   * Takes in a port that the host has bound, from the tail of its answer; with its first event when
   * Xen has raised that already (case 187).
   */
  bound(port: number, { body, fds }: Reply, isRaised: boolean): void {
    const id = body.u32()
    const slot = body.u32()
    body.u32()
    const inbox = this.#reader(id, fds)
    inbox.bound(slot, port)
    this.ring.bind(port, new ClientPort(inbox, slot))
    if (isRaised) this.ring.arrived(port)
  }

  /** Lets a port go that the host has unbound. */
  unbound(port: number): void {
    const bound = this.ring.get(port)
    if (!bound) return
    this.ring.unbind(port)
    this.#forget(bound)
    bound.inbox.unbound(bound.slot)
    if (bound.inbox.isEmpty) this.#closeInbox(bound.inbox)
  }

  /**
   * NOTIFY through the descriptor `fd`, one of possibly many of the same file: 0 whether or not
   * somebody is there, -ENOTCONN for a port that is not bound here.
   */
  notify(fd: number, port: number): number {
    const bound = this.ring.get(port)
    if (!bound) return -ERRNO.ENOTCONN
    const serial = load(bound.inbox.connections.words, bound.slot)
    if (serial === 0) {
      this.#forget(bound)
      return 0
    }
    const out = bound.out?.serial === serial ? bound.out : this.#connect(bound, fd, port)
    // That nobody is there any more is no error; that there is no room for the way to them is.
    if (typeof out === 'number') return out === -ERRNO.EMFILE ? out : 0
    if (out.bits.send()) postTo(out.inbox.pipe, out.inbox.states.words, out.message)
    return 0
  }

  /** Moves what has arrived from the inboxes into the ring. */
  drain(): void {
    for (const inbox of this.#inboxes.values()) inbox.drain()
  }

  /**
   * Blocks the thread until something may have arrived, and moves it into the ring. Answers as
   * poll(2) does: 0 when the time was over.
   */
  block(timeoutMs: number): Result {
    const woken = poll(this.#epoll, POLLIN, timeoutMs)
    if (woken > 0) for (const inbox of this.#inboxes.values()) inbox.drain(true)
    return woken
  }

  /** Somebody waits for the ring, in the event loop, or nobody does any more. */
  listen(isListening: boolean): void {
    this.#isListening = isListening
    if (!isListening) return
    for (const inbox of this.#unwatched) this.#watch(inbox)
  }

  close(): void {
    for (const port of [...this.ring.ports()]) this.unbound(port)
    close(this.#epoll)
  }

  #watch(inbox: InboxReader): void {
    inbox.watch(() => {
      if (!this.#isListening) this.#unwatched.add(inbox)
      return this.#isListening
    })
    this.#unwatched.delete(inbox)
  }

  /** A message says that `port` was sent to; its word must say so too, or it is no message. */
  readonly #arrived = (port: number, inbox: InboxReader): void => {
    const bound = this.ring.get(port)
    if (bound?.inbox === inbox && bound.isMasked) this.ring.arrived(port)
  }

  #connect(bound: ClientPort, fd: number, port: number): Outbound | number {
    this.#forget(bound)
    this.#socket.begin(OP.peer).u32(fd).u32(port)
    const { result, body, fds } = this.#socket.call()
    if (result < 0) return result
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
    const inbox = new InboxReader(id, fds, this.#arrived)
    this.#inboxes.set(id, inbox)
    epollAdd(this.#epoll, inbox.pipe, POLLIN)
    if (this.#isListening) this.#watch(inbox)
    else this.#unwatched.add(inbox)
    return inbox
  }

  #closeInbox(inbox: InboxReader): void {
    this.#inboxes.delete(inbox.id)
    this.#unwatched.delete(inbox)
    epollDelete(this.#epoll, inbox.pipe)
    inbox.close()
  }
}
