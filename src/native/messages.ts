import { ERRNO } from '../abi/errno.ts'
import { addressOfBytes, answer, declare, type Result } from './koffi.ts'
import { MSG_NOSIGNAL } from './sockets.ts'

/** Flags in msg_flags and for recvmsg. Source: include/linux/socket.h. */
const MSG_CTRUNC = 0x08
const MSG_TRUNC = 0x20
const MSG_CMSG_CLOEXEC = 0x40000000
const SOL_SOCKET = 1
const SCM_RIGHTS = 1

/** Descriptors of one message: SCM_MAX_FD of include/net/scm.h. */
export const MESSAGE_FDS_MAX = 253

// The msghdr goes by address: it never moves, and koffi passes a number in half the time of bytes.
const sendmsg = declare('intptr_t sendmsg(int fd, uintptr_t message, int flags)')
const send = declare('intptr_t send(int fd, uintptr_t bytes, size_t length, int flags)')
const recvmsg = declare('intptr_t recvmsg(int fd, uintptr_t message, int flags)')

/** What one recvmsg(2) brought. */
export interface ReceivedMessage {
  /** Bytes stored; 0 is the end of the connection (or an empty message of a SEQPACKET socket). */
  readonly length: number
  /** Descriptors that came along, ours to close, close-on-exec. */
  readonly fds: readonly number[]
  /** The message was longer than the buffer, and its rest is lost. */
  readonly truncated: boolean
  /** More descriptors came than could be stored (limit of descriptors reached); they are lost. */
  readonly fdsTruncated: boolean
}

const NO_FDS: readonly number[] = Object.freeze([])
const STAGE_BYTES = 65536

/**
 * Bytes whose address the kernel is given: they own their memory, so it never moves, and is asked
 * for once. What is written here is sent, and what is received is read, without a copy between.
 */
export class MessageBuffer {
  readonly bytes: Uint8Array
  /** The same bytes, as many of them as are whole words. */
  readonly words: Uint32Array
  readonly address: number

  constructor(length: number) {
    const memory = new ArrayBuffer(length)
    this.bytes = new Uint8Array(memory)
    this.words = new Uint32Array(memory, 0, length >>> 2)
    this.address = addressOfBytes(this.bytes)
  }
}

/**
 * A msghdr with all that it names, built once per thread:
 *
 *      msghdr (56)             iovec (16)           control
 *     +---------------------+ +-----------------+  +---------------------------+
 *     |  0 name, namelen    | | 0 base          |  |  0 u64 cmsg_len           |
 *     | 16 -> iovec, 1      | | 8 length        |  |  8 i32 level, 12 i32 type |
 *     | 32 -> control, len  | +-----------------+  | 16 i32 fds[]              |
 *     | 48 flags            |                      +---------------------------+
 *     +---------------------+
 *
 * Sizes are those of 64-bit Linux, little endian; musl pads its narrower lengths to the same
 * layout.
 */
class Header {
  readonly address: number
  readonly #words = new Uint32Array(new ArrayBuffer(56))
  readonly #iovec = new Uint32Array(new ArrayBuffer(16))
  readonly #control = new Int32Array(new ArrayBuffer(aligned(16 + 4 * MESSAGE_FDS_MAX)))
  #stage: MessageBuffer | undefined
  #named: MessageBuffer | undefined

  constructor() {
    this.address = addressOfBytes(bytesOf(this.#words))
    putAddress(this.#words, 4, addressOfBytes(bytesOf(this.#iovec)))
    this.#words[6] = 1
    putAddress(this.#words, 8, addressOfBytes(bytesOf(this.#control)))
  }

  /** Names the first `length` bytes of a buffer, which is kept for as long as it is named. */
  name(buffer: MessageBuffer, length: number): void {
    if (this.#named !== buffer) putAddress(this.#iovec, 0, buffer.address)
    this.#named = buffer
    this.#iovec[2] = length
  }

  /** A buffer for bytes of a caller's, which may belong to Node's pool or move. */
  stage(length: number): MessageBuffer {
    const known = this.#stage
    if (known && known.bytes.byteLength >= length) return known
    this.#stage = new MessageBuffer(Math.max(length, STAGE_BYTES))
    return this.#stage
  }

  putFds(fds: readonly number[]): void {
    this.#words[12] = 0
    if (fds.length > MESSAGE_FDS_MAX)
      throw new RangeError(`${fds.length} descriptors in one message of at most ${MESSAGE_FDS_MAX}`)
    const control = this.#control
    control[0] = 16 + 4 * fds.length
    control[1] = 0
    control[2] = SOL_SOCKET
    control[3] = SCM_RIGHTS
    for (let i = 0; i < fds.length; i++) control[4 + i] = fds[i]!
    this.#words[10] = aligned(16 + 4 * fds.length)
  }

  expectFds(): void {
    this.#words[10] = aligned(16 + 4 * MESSAGE_FDS_MAX)
    this.#words[12] = 0
  }

  get flags(): number {
    return this.#words[12]!
  }

  /** Descriptors of every SCM_RIGHTS block that the kernel stored. */
  takeFds(): readonly number[] {
    const length = this.#words[10]!
    if (length < 16) return NO_FDS
    const fds: number[] = []
    for (let at = 0; at + 16 <= length; ) {
      const word = at / 4
      const size = this.#control[word]!
      if (size < 16) break
      const isRights =
        this.#control[word + 2] === SOL_SOCKET && this.#control[word + 3] === SCM_RIGHTS
      for (let i = 4; isRights && i < size / 4; i++) fds.push(this.#control[word + i]!)
      at += aligned(size)
    }
    return fds
  }
}

function aligned(length: number): number {
  return (length + 7) & ~7
}

function bytesOf(array: Uint32Array | Int32Array): Uint8Array {
  return new Uint8Array(array.buffer)
}

function putAddress(words: Uint32Array, at: number, address: number): void {
  words[at] = address % 2 ** 32
  words[at + 1] = Math.floor(address / 2 ** 32)
}

// One for each direction and thread: a module is instantiated once per thread, calls do not nest.
let outgoing: Header | undefined
let incoming: Header | undefined

/**
 * sendmsg(2), or send(2), of the first `length` bytes of a buffer, with descriptors of ours, which
 * stay ours: the message holds them too. Never raises SIGPIPE. Answers bytes; on a SEQPACKET socket
 * all or none.
 */
export function sendBuffer(
  fd: number,
  buffer: MessageBuffer,
  length: number,
  fds: readonly number[] = NO_FDS,
  flags = 0,
): Result {
  const all = flags | MSG_NOSIGNAL
  // Without descriptors there is nothing to describe, and the kernel has no header to copy.
  const header = fds.length === 0 ? undefined : describe(buffer, length, fds)
  for (;;) {
    const result = header
      ? answer(sendmsg.invoke(fd, header.address, all))
      : answer(send.invoke(fd, buffer.address, length, all))
    if (result !== -ERRNO.EINTR) return result
  }
}

function describe(buffer: MessageBuffer, length: number, fds: readonly number[]): Header {
  outgoing ??= new Header()
  outgoing.putFds(fds)
  outgoing.name(buffer, length)
  return outgoing
}

/** recvmsg(2): one message into the start of a buffer, and the descriptors that came with it. */
export function receiveBuffer(
  fd: number,
  buffer: MessageBuffer,
  flags = 0,
  capacity: number = buffer.bytes.byteLength,
): ReceivedMessage | Result {
  incoming ??= new Header()
  incoming.name(buffer, capacity)
  for (;;) {
    incoming.expectFds()
    const length = answer(recvmsg.invoke(fd, incoming.address, flags | MSG_CMSG_CLOEXEC))
    if (length === -ERRNO.EINTR) continue
    if (length < 0) return length
    return {
      length: Math.min(length, capacity),
      fds: incoming.takeFds(),
      truncated: (incoming.flags & MSG_TRUNC) !== 0,
      fdsTruncated: (incoming.flags & MSG_CTRUNC) !== 0,
    }
  }
}

/** As {@link sendBuffer}, for bytes of any origin, by way of a copy. */
export function sendMessage(
  fd: number,
  bytes: Uint8Array,
  fds: readonly number[] = NO_FDS,
  flags = 0,
): Result {
  outgoing ??= new Header()
  const stage = outgoing.stage(bytes.byteLength)
  stage.bytes.set(bytes)
  return sendBuffer(fd, stage, bytes.byteLength, fds, flags)
}

/** As {@link receiveBuffer}, into bytes of any origin. */
export function receiveMessage(fd: number, into: Uint8Array, flags = 0): ReceivedMessage | Result {
  incoming ??= new Header()
  const stage = incoming.stage(into.byteLength)
  const received = receiveBuffer(fd, stage, flags, into.byteLength)
  if (typeof received !== 'number') into.set(stage.bytes.subarray(0, received.length))
  return received
}
