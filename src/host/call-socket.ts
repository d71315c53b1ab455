import { ERRNO } from '../abi/errno.ts'
import { type ErrorFacts, ProtocolError, XenError } from '../base/errors.ts'
import { nanoseconds } from '../base/nanoseconds.ts'
import { close } from '../native/files.ts'
import * as sockets from '../native/sockets.ts'
import { noDescriptorLeft } from './descriptor-limit.ts'
import { CALL_TIMEOUT_MS, OUTBOX_BYTES } from './limits.ts'
import { mapFile } from './memfd.ts'
import { type Received, receiveFramed, receiveRoom, sendFramed } from './message-socket.ts'
import { Outbox } from './outbox.ts'
import { BodyReader, BodyWriter, FLAG_ONE_WAY, OP, type Op } from './wire.ts'

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
  /** The call that was begun. */
  readonly #out = new BodyWriter()
  #op: Op = OP.none
  readonly #nothing = new BodyWriter()
  readonly #in = receiveRoom()
  #outbox: Outbox | undefined
  #nudging: NodeJS.Immediate | undefined
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

  /**
   * Asks the host for an outbox, once it was greeted. Without one, which a host with many clients
   * may not have, every call is a round trip.
   */
  openOutbox(): void {
    this.begin(OP.outbox).u64(nanoseconds())
    const [fd] = this.call().fds
    const file = fd === undefined ? -1 : mapFile(fd, OUTBOX_BYTES, true)
    if (typeof file !== 'number') this.#outbox = new Outbox(file)
  }

  get hasOutbox(): boolean {
    return this.#outbox !== undefined
  }

  /** Begins a call: its fields are written to what this answers, then call or queue it. */
  begin(op: Op): BodyWriter {
    this.#op = op
    return this.#out.cut()
  }

  /** The round trip that was begun. `result` is -EHOSTDOWN when the host is gone. */
  call(): Reply {
    return this.#ask(this.#op, this.#out)
  }

  /**
   * What {@link call} does, for a call whose answer is known to be 0: nobody waits for the host,
   * and whoever asks it something from now on finds it done.
   */
  queue(): void {
    const outbox = this.#outbox
    if (!outbox) {
      this.call()
      return
    }
    if (!this.#death && !outbox.hasRoom(this.#out)) this.#ask(OP.none, this.#nothing)
    if (this.#death) return
    outbox.add(this.#op, this.#out)
    this.#nudging ??= setImmediate(this.#nudge)
  }

  /** Who asks the host nothing more in this turn tells it that something is there. */
  readonly #nudge = (): void => {
    this.#nudging = undefined
    // Once the connection is closed, so is the outbox.
    if (this.#death || this.#outbox?.isEmpty !== false) return
    const message = this.#nothing.head(OP.none, FLAG_ONE_WAY, 0, 0)
    const sent = sendFramed(this.#fd, message)
    if (sent < 0) this.#undeliverable(sent)
  }

  #ask(op: Op, body: BodyWriter): Reply {
    if (this.#death) return DEAD
    const serial = (this.#serial + 1) >>> 0
    this.#serial = serial
    // Whoever was turned away finds nobody to send to, and the reason waiting.
    const sent = sendFramed(this.#fd, body.head(op, 0, serial, 0))
    const isEnded = sent === -ERRNO.EPIPE || sent === -ERRNO.ECONNRESET
    const mayBeTurnedAway = isEnded && (op === OP.hello || op === OP.admin)
    if (sent < 0 && !mayBeTurnedAway) return this.#undeliverable(sent)
    const reply = this.#receive()
    if (reply === -ERRNO.EAGAIN) return this.#undeliverable(reply)
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
    // Only now: what is left in it is the host's, which takes it at the end of the connection.
    this.#outbox?.close()
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
