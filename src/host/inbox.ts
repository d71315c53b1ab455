import { ERRNO } from '../abi/errno.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { XenError } from '../base/errors.ts'
import { add, exchange, or, store } from '../memory/atomics.ts'
import {
  close,
  F_SEAL_SEAL,
  O_NONBLOCK,
  O_RDONLY,
  O_WRONLY,
  open,
  pipe,
  write,
} from '../native/files.ts'
import type { Answer } from './answer.ts'
import { LINK_SLOTS } from './limits.ts'
import { type Memfd, readOnlyMemfd, sealedMemfd } from './memfd.ts'

/** Two slots of the state words are no ports. Nonzero says that a message did not fit the pipe. */
export const LOOK_AT_ALL = 0
/** How many messages were sent: who has taken as many need not ask the pipe. */
export const SENT = 1
const FIRST_SLOT = 2

/** What an inbox takes of the host: two memfds, and both ends of a pipe. */
export const INBOX_DESCRIPTORS = 4
export const INBOX_PAGES: number = (2 * 4 * LINK_SLOTS) / PAGE_SIZE

/**
 * Where one sending domain reaches one evtchn descriptor:
 *
 *     pipe          u32 port numbers, at most one in flight for each port
 *     states        a word for each slot: MASKED, PENDING (receiver, senders and host write)
 *     connections   a word for each slot: number of its connection, 0 for none (host writes)
 *
 * The host keeps both ends of the pipe, so that a writer never meets SIGPIPE and a reader never an
 * end of file; everybody else opens an end anew, since O_NONBLOCK belongs to the open description
 * and must not be somebody else's to clear.
 */
export class Inbox {
  readonly id: number
  /** The domain that sends here. */
  readonly sender: number
  readonly statesMemfd: Memfd
  readonly connectionsMemfd: Memfd
  readonly #connections: Uint32Array
  readonly states: Uint32Array
  readonly #ends: [number, number]
  readonly #free: number[] = []
  /** The one descriptor that reads here has its ends. */
  isDelivered = false
  #highWater = FIRST_SLOT
  #used = 0

  constructor(id: number, sender: number) {
    this.id = id
    this.sender = sender
    const states = sealedMemfd('interdom-states', LINK_SLOTS * 4, F_SEAL_SEAL)
    const connections = readOnlyMemfd('interdom-connections', LINK_SLOTS * 4)
    const ends = pipe(O_NONBLOCK)
    const parts = [states, connections, ends]
    if (parts.some(part => typeof part === 'number')) discard(...parts)
    this.#ends = ok(ends)
    this.statesMemfd = ok(states)
    this.connectionsMemfd = ok(connections)
    this.states = this.statesMemfd.words
    this.#connections = this.connectionsMemfd.words
  }

  get isEmpty(): boolean {
    return this.#used === 0
  }

  takeSlot(): number {
    const slot = this.#free.pop() ?? this.#highWater++
    if (slot >= LINK_SLOTS) throw new XenError(-ERRNO.ENOSPC, 'event channel slot')
    this.#used++
    exchange(this.states, slot, 0)
    return slot
  }

  freeSlot(slot: number): void {
    exchange(this.states, slot, 0)
    this.#free.push(slot)
    this.#used--
  }

  setConnection(slot: number, serial: number): void {
    store(this.#connections, slot, serial)
  }

  /** One message, written for a domain that can no longer write it itself. */
  post(message: Uint8Array): void {
    postTo(this.#ends[1], this.states, message)
  }

  /** A descriptor of an end of the pipe with an open description of its own. */
  openEnd(end: 'read' | 'write'): number {
    const flags = (end === 'read' ? O_RDONLY : O_WRONLY) | O_NONBLOCK
    const fd = open(`/proc/self/fd/${this.#ends[end === 'read' ? 0 : 1]}`, flags)
    if (fd < 0) throw new XenError(fd, 'open inbox')
    return fd
  }

  /** A receiver gets the pipe to read, the states, and its connections; a sender the first two. */
  descriptors(end: 'read' | 'write'): Pick<Answer, 'fds' | 'ownedFds'> {
    const fds = [this.statesMemfd.fd]
    if (end === 'read') fds.push(this.connectionsMemfd.fd)
    return { ownedFds: [this.openEnd(end)], fds }
  }

  close(): void {
    close(this.#ends[0])
    close(this.#ends[1])
    this.statesMemfd.close()
    this.connectionsMemfd.close()
  }
}

/**
 * Writes a port number into an inbox. A pipe holds 16384 of them: when it is full, the receiver is
 * told to look at all. It may have emptied the pipe and looked just before, so we try once more.
 *
 * It is counted before it is sent: a sender that is killed in between leaves a receiver that asks
 * its pipe in vain, and none that overlooks a message.
 */
export function postTo(pipeEnd: number, states: Uint32Array, message: Uint8Array): void {
  add(states, SENT, 1)
  if (write(pipeEnd, message) !== -ERRNO.EAGAIN) return
  or(states, LOOK_AT_ALL, 1)
  if (write(pipeEnd, message) === -ERRNO.EAGAIN) add(states, SENT, -1)
}

function ok<T extends object>(made: T | number): T {
  if (typeof made === 'number') throw new XenError(made, 'event channel inbox')
  return made
}

/** Lets go of what could be made when something else could not. */
function discard(...parts: (Memfd | [number, number] | number)[]): void {
  for (const part of parts) {
    if (typeof part === 'number') continue
    if (Array.isArray(part)) for (const end of part) close(end)
    else part.close()
  }
}
