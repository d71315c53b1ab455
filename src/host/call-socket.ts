import { ERRNO } from '../abi/errno.ts'
import { type ErrorFacts, ProtocolError, XenError } from '../base/errors.ts'
import { close } from '../native/files.ts'
import * as sockets from '../native/sockets.ts'
import { CALL_TIMEOUT_MS, QUEUED_CALLS_MAX } from './limits.ts'
import { receiveFramed, sendFramed } from './message-socket.ts'
import {
  BodyReader,
  BodyWriter,
  encodeQueued,
  FLAG_ONE_WAY,
  FLAG_QUEUED,
  OP,
  type Op,
  type QueuedCall,
} from './wire.ts'

/** What the host answered: its result, the body to read on, and descriptors that are now ours. */
export interface Reply {
  readonly result: number
  readonly body: BodyReader
  readonly fds: readonly number[]
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
  readonly #queued: QueuedCall[] = []
  #flushing: NodeJS.Immediate | undefined
  #serial = 0
  #death: ErrorFacts | undefined

  constructor(path: string, timeoutMs: number = CALL_TIMEOUT_MS) {
    this.path = path
    this.#timeoutMs = timeoutMs
    this.#fd = sockets.socket(sockets.SOCK_SEQPACKET)
    if (this.#fd < 0) throw new XenError(this.#fd, 'socket')
    const result = Math.min(
      sockets.setReceiveTimeout(this.#fd, timeoutMs),
      sockets.connect(this.#fd, path),
    )
    if (result === 0) return
    close(this.#fd)
    throw new XenError(result, 'connect host', {
      path,
      ...(isAbsence(result) ? { fix: 'no host runs there: "interdom host start"' } : {}),
    })
  }

  get isDead(): boolean {
    return this.#death !== undefined
  }

  /** Why the host counts as dead, for a person. */
  get death(): ErrorFacts | undefined {
    return this.#death
  }

  /** A round trip. `result` is -EHOSTDOWN when the host is gone. */
  call(op: Op, body: Uint8Array = NO_BYTES): Reply {
    if (this.#death) return DEAD
    const serial = ++this.#serial >>> 0
    if (this.#send(op, serial, body) < 0) return this.die(`the host at ${this.path} is gone`)
    const reply = receiveFramed(this.#fd)
    if (reply === -ERRNO.EAGAIN) {
      return this.die(`the host at ${this.path} did not answer within ${this.#timeoutMs} ms`)
    }
    if (reply === undefined || typeof reply === 'number') {
      return this.die(`the host at ${this.path} is gone`)
    }
    const { header, fds } = reply
    if (header.serial !== serial || header.op !== op) {
      for (const fd of fds) close(fd)
      this.die(`the host at ${this.path} answered out of turn`)
      throw new ProtocolError('ERR_HOST_PROTOCOL', 'the host answered another call', {
        wanted: serial,
        got: header.serial,
      })
    }
    return { result: header.result, body: new BodyReader(reply.body), fds }
  }

  /**
   * Makes a call whose answer, 0, is known: it travels ahead of the next one, or alone at the end
   * of this turn of the event loop. Only for what nobody else can see the effect of.
   */
  queue(op: Op, body: Uint8Array): void {
    if (this.#death) return
    this.#queued.push({ op, body })
    if (this.#queued.length === QUEUED_CALLS_MAX) this.flush()
    else this.#flushing ??= setImmediate(this.flush)
  }

  /** Sends what is queued, without waiting for it. */
  readonly flush = (): void => {
    this.#flushing = undefined
    if (this.#death || this.#queued.length === 0) return
    if (this.#send(OP.none, 0, NO_BYTES, FLAG_ONE_WAY) < 0) {
      this.die(`the host at ${this.path} is gone`)
    }
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

  #send(op: Op, serial: number, body: Uint8Array, flags = 0): number {
    const header = { op, serial, result: 0 }
    if (this.#queued.length === 0) return sendFramed(this.#fd, { ...header, flags }, body)
    const whole = new BodyWriter(256)
    encodeQueued(whole, this.#queued)
    this.#queued.length = 0
    whole.raw(body)
    return sendFramed(this.#fd, { ...header, flags: flags | FLAG_QUEUED }, whole.finish())
  }
}

const NO_BYTES = new Uint8Array(0)
const DEAD: Reply = { result: -ERRNO.EHOSTDOWN, body: new BodyReader(new Uint8Array(0)), fds: [] }

/** No socket, or a socket that nobody listens on: what a host leaves behind. */
export function isAbsence(result: number): boolean {
  return result === -ERRNO.ENOENT || result === -ERRNO.ECONNREFUSED
}
