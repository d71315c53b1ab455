import { ERRNO } from '../abi/errno.ts'
import { type ErrorFacts, ProtocolError, XenError } from '../base/errors.ts'
import { close } from '../native/files.ts'
import * as sockets from '../native/sockets.ts'
import { noDescriptorLeft } from './descriptor-limit.ts'
import { CALL_TIMEOUT_MS, QUEUED_CALLS_MAX } from './limits.ts'
import { type Received, receiveFramed, receiveRoom, sendFramed } from './message-socket.ts'
import { BodyReader, BodyWriter, FLAG_ONE_WAY, FLAG_QUEUED, OP, type Op } from './wire.ts'

/**
 * What the host answered: its result, its body, to be read before the next call, and descriptors
 * that are now ours.
 */
export interface Reply extends Pick<Received, 'result' | 'body' | 'fds'> {
  /** The result was this, and is now -EMFILE: its descriptors found no room in this process. */
  readonly lost?: number
}

/**
 * The socket of blocking round trips: one request, one reply, the only way that descriptors take.
 * A host that is gone, or silent for its timeout (CALL_TIMEOUT_MS), is gone for good: every later
 * call answers -EHOSTDOWN at once.
 */
export class CallSocket {
  readonly path: string
  #fd: number
  readonly #timeoutMs: number
  /** The message to come: what is queued, then the call that was begun. */
  readonly #out = new BodyWriter()
  readonly #in = receiveRoom()
  #op: Op = OP.none
  #queued = 0
  /** Calls queued since the host last answered one, sent or not. */
  #unanswered = 0
  /** Bytes of the body that are queued calls, and where the last of them says its length. */
  #queuedLength = 0
  #queuedAt = 0
  #flushing: NodeJS.Immediate | undefined
  #serial = 0
  #death: ErrorFacts | undefined
  #isEnded = false
  /** About the last call that this process could not take the answer of. */
  #refusal: ErrorFacts | undefined

  constructor(path: string, timeoutMs: number = CALL_TIMEOUT_MS) {
    this.path = path
    this.#timeoutMs = timeoutMs
    this.#fd = sockets.socket(sockets.SOCK_SEQPACKET)
    if (this.#fd < 0) throw new XenError(this.#fd, 'socket')
    const result = Math.min(
      sockets.setTimeouts(this.#fd, timeoutMs),
      sockets.connect(this.#fd, path),
    )
    if (result === 0) return
    close(this.#fd)
    const fix = connectFix(result)
    throw new XenError(result, 'connect host', { path, ...(fix !== undefined && { fix }) })
  }

  get isDead(): boolean {
    return this.#death !== undefined
  }

  /** The other end was closed, which of a silent host nobody knows. */
  get isEnded(): boolean {
    return this.#isEnded
  }

  /** Why the last call was refused, when not the host refused it; said once. */
  takeRefusal(): ErrorFacts | undefined {
    const refusal = this.#refusal
    this.#refusal = undefined
    return refusal
  }

  /** Why the host counts as dead, for a person. */
  get death(): ErrorFacts | undefined {
    return this.#death
  }

  /** Begins a call: its fields are written to what this answers, then {@link call} sends it. */
  begin(op: Op): BodyWriter {
    this.#op = op
    return this.#out.cut(this.#queuedLength)
  }

  /** The round trip that was begun. `result` is -EHOSTDOWN when the host is gone. */
  call(): Reply {
    if (this.#death) return DEAD
    const op = this.#op
    const serial = (this.#serial + 1) >>> 0
    this.#serial = serial
    // Whoever was turned away finds nobody to send to, and the reason waiting.
    const sent = this.#send(op, serial, 0)
    const isEnded = sent === -ERRNO.EPIPE || sent === -ERRNO.ECONNRESET
    const mayBeTurnedAway = isEnded && (op === OP.hello || op === OP.admin)
    if (sent < 0 && !mayBeTurnedAway) return this.#undeliverable(sent)
    const reply = this.#receive()
    if (reply === -ERRNO.EAGAIN) return this.#undeliverable(reply)
    this.#unanswered = 0
    if (reply === undefined || typeof reply === 'number') {
      this.#isEnded = true
      return this.die(`the host at ${this.path} is gone`)
    }
    if (reply.serial === 0 && reply.result < 0) return this.#turnedAway(reply.result, reply.body)
    if (reply.serial !== serial || reply.op !== op) {
      for (const fd of reply.fds) close(fd)
      this.die(`the host at ${this.path} answered out of turn`)
      throw new ProtocolError('ERR_HOST_PROTOCOL', 'the host answered another call', {
        wanted: serial,
        got: reply.serial,
      })
    }
    if (!reply.fdsLost) return reply
    for (const fd of reply.fds) close(fd)
    this.#refusal = noDescriptorLeft()
    return { result: -ERRNO.EMFILE, body: reply.body, fds: [], lost: reply.result }
  }

  /**
   * Begins a call whose answer, 0, is known; {@link queue} lets it travel ahead of the next one, or
   * alone at the end of this turn of the event loop. Only for what has no effect that others see.
   */
  beginQueued(op: Op): BodyWriter {
    const body = this.#out.cut(this.#queuedLength)
    if (this.#queued === 0) body.u32(0)
    body.u32(op)
    this.#queuedAt = body.length
    return body.u32(0)
  }

  /** Queues the call that was begun. */
  queue(): void {
    if (this.#death) return
    const { length } = this.#out
    this.#out.replaceU32(this.#queuedAt, length - this.#queuedAt - 4)
    this.#out.replaceU32(0, ++this.#queued)
    this.#queuedLength = length
    if (++this.#unanswered < QUEUED_CALLS_MAX) this.#flushing ??= setImmediate(this.flush)
    else {
      // The host must not have more of them before it than it reckons with.
      this.begin(OP.none)
      this.call()
    }
  }

  /** Sends what is queued, without waiting for it. */
  readonly flush = (): void => {
    this.#flushing = undefined
    if (this.#death || this.#queued === 0) return
    this.#out.cut(this.#queuedLength)
    const sent = this.#send(OP.none, 0, FLAG_ONE_WAY)
    if (sent < 0) this.#undeliverable(sent)
  }

  /** What could not be sent, or was not answered. */
  #undeliverable(result: number): Reply {
    let how = 'is gone'
    if (result === -ERRNO.EAGAIN) how = `did not answer within ${this.#timeoutMs} ms`
    // A large body is a descriptor, which connections for orders refuse.
    if (result === -ERRNO.EPERM) how = 'takes no order as long as this'
    return this.die(`the host at ${this.path} ${how}`)
  }

  /** From now on the host counts as dead. */
  die(reason: string): Reply {
    this.#death ??= { fix: `${reason}; start one and connect again` }
    return DEAD
  }

  close(): void {
    if (this.#fd < 0) return
    close(this.#fd)
    this.#fd = -1
    this.die('this connection was closed')
  }

  /** An end that was closed with our request unread reports that first, once. */
  #receive(): ReturnType<typeof receiveFramed> {
    const reply = receiveFramed(this.#fd, this.#in)
    return reply === -ERRNO.ECONNRESET ? receiveFramed(this.#fd, this.#in) : reply
  }

  #turnedAway(result: number, body: BodyReader): Reply {
    this.#death = JSON.parse(body.text()) as ErrorFacts
    return { result, body: NO_BODY, fds: [] }
  }

  #send(op: Op, serial: number, flags: number): number {
    const queuing = this.#queued > 0 ? FLAG_QUEUED : 0
    this.#queued = 0
    this.#queuedLength = 0
    return sendFramed(this.#fd, this.#out.head(op, flags | queuing, serial, 0))
  }
}

const NO_BODY = new BodyReader({ bytes: new Uint8Array(0), words: new Uint32Array(0) }, 0, 0)
const DEAD: Reply = { result: -ERRNO.EHOSTDOWN, body: NO_BODY, fds: [] }

function connectFix(result: number): string | undefined {
  if (isAbsence(result)) return 'no host runs there: "interdom host start"'
  if (result !== -ERRNO.EACCES) return undefined
  return 'the domain is another user’s: be that user, or a domain that was given to this one'
}

/** No socket, or a socket that nobody listens on: what a host leaves behind. */
export function isAbsence(result: number): boolean {
  return result === -ERRNO.ENOENT || result === -ERRNO.ECONNREFUSED
}
