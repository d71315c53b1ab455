import { ERRNO } from '../abi/errno.ts'
import { type ErrorFacts, ProtocolError, XenError } from '../base/errors.ts'
import { close } from '../native/files.ts'
import * as sockets from '../native/sockets.ts'
import { MSG_DONTWAIT } from '../native/sockets.ts'
import { POLLIN, poll } from '../native/waiting.ts'
import { CALL_TIMEOUT_MS } from './limits.ts'
import { receiveFramed, sendFramed } from './message-socket.ts'
import { BodyReader, type Op } from './wire.ts'

/** What the host answered: its result, the body to read on, and descriptors that are now ours. */
export interface Reply {
  readonly result: number
  readonly body: BodyReader
  readonly fds: readonly number[]
}

/**
 * The socket of blocking round trips: one request, one reply, the only way that descriptors take.
 * A host that is gone, or silent for {@link CALL_TIMEOUT_MS}, is gone for good: every later call
 * answers -EHOSTDOWN at once.
 */
export class CallSocket {
  readonly path: string
  #fd: number
  #serial = 0
  #death: ErrorFacts | undefined

  constructor(path: string) {
    this.path = path
    this.#fd = sockets.socket(sockets.SOCK_SEQPACKET)
    if (this.#fd < 0) throw new XenError(this.#fd, 'socket')
    const result = sockets.connect(this.#fd, path)
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
  call(op: Op, body?: Uint8Array): Reply {
    if (this.#death) return DEAD
    const serial = ++this.#serial >>> 0
    if (sendFramed(this.#fd, { op, serial, result: 0 }, body) < 0) {
      return this.die(`the host at ${this.path} is gone`)
    }
    if (!this.#awaitReply()) {
      return this.die(`the host at ${this.path} did not answer within ${CALL_TIMEOUT_MS} ms`)
    }
    const reply = receiveFramed(this.#fd, MSG_DONTWAIT)
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

  #awaitReply(): boolean {
    const end = performance.now() + CALL_TIMEOUT_MS
    for (;;) {
      const left = Math.ceil(end - performance.now())
      if (left <= 0) return false
      const events = poll(this.#fd, POLLIN, left)
      if (events > 0) return true
      if (events < 0 && events !== -ERRNO.EINTR) return false
    }
  }
}

const DEAD: Reply = { result: -ERRNO.EHOSTDOWN, body: new BodyReader(new Uint8Array(0)), fds: [] }

/** No socket, or a socket that nobody listens on: what a host leaves behind. */
export function isAbsence(result: number): boolean {
  return result === -ERRNO.ENOENT || result === -ERRNO.ECONNREFUSED
}
