import { addressOfBytes, declare, type Result, restarted } from './koffi.ts'
import { MSG_NOSIGNAL } from './sockets.ts'

/** Flags in msg_flags and for recvmsg. Source: include/linux/socket.h. */
const MSG_CTRUNC = 0x08
const MSG_TRUNC = 0x20
const MSG_CMSG_CLOEXEC = 0x40000000
const SOL_SOCKET = 1
const SCM_RIGHTS = 1

/** Descriptors of one message: SCM_MAX_FD of include/net/scm.h. */
export const MESSAGE_FDS_MAX = 253

const sendmsg = declare('intptr_t sendmsg(int fd, const void *message, int flags)')
const recvmsg = declare('intptr_t recvmsg(int fd, void *message, int flags)')

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
const INITIAL_STAGE = 65536

/**
 * A msghdr with all that it names, built once per thread:
 *
 *      msghdr (56)             iovec (16)           control
 *     +---------------------+ +-----------------+  +---------------------------+
 *     |  0 name, namelen    | | 0 base -> stage |  |  0 u64 cmsg_len           |
 *     | 16 -> iovec, 1      | | 8 length        |  |  8 i32 level, 12 i32 type |
 *     | 32 -> control, len  | +-----------------+  | 16 i32 fds[]              |
 *     | 48 flags            |                      +---------------------------+
 *     +---------------------+
 *
 * Messages pass through a stage of our own, since the kernel is given addresses: a caller's buffer
 * may belong to Node's pool or move with its length, and a copy of some hundred bytes is cheaper
 * than to ask for its address. Sizes are those of 64-bit Linux, little endian; musl pads its
 * narrower lengths to the same layout.
 */
class Header {
  readonly bytes: Uint8Array
  readonly #words: Uint32Array
  readonly #iovec: Uint32Array
  readonly #control: Int32Array
  #stage: Uint8Array

  constructor() {
    this.#words = new Uint32Array(14)
    this.#iovec = new Uint32Array(4)
    this.#control = new Int32Array(4 + MESSAGE_FDS_MAX + 1)
    this.#stage = new Uint8Array(INITIAL_STAGE)
    this.bytes = bytesOf(this.#words)
    putAddress(this.#words, 4, bytesOf(this.#iovec))
    this.#words[6] = 1
    putAddress(this.#words, 8, bytesOf(this.#control))
    putAddress(this.#iovec, 0, this.#stage)
  }

  /** The stage, with room for `length` bytes, and named in the iovec with that length. */
  stage(length: number): Uint8Array {
    if (length > this.#stage.byteLength) {
      this.#stage = new Uint8Array(length)
      putAddress(this.#iovec, 0, this.#stage)
    }
    this.#iovec[2] = length
    return this.#stage
  }

  putFds(fds: readonly number[]): void {
    if (fds.length > MESSAGE_FDS_MAX)
      throw new RangeError(`${fds.length} descriptors in one message of at most ${MESSAGE_FDS_MAX}`)
    const control = this.#control
    control[0] = 16 + 4 * fds.length
    control[1] = 0
    control[2] = SOL_SOCKET
    control[3] = SCM_RIGHTS
    for (let i = 0; i < fds.length; i++) control[4 + i] = fds[i]!
    this.#words[10] = fds.length === 0 ? 0 : aligned(16 + 4 * fds.length)
    this.#words[12] = 0
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

function putAddress(words: Uint32Array, at: number, of: Uint8Array): void {
  const address = addressOfBytes(of)
  words[at] = address % 2 ** 32
  words[at + 1] = Math.floor(address / 2 ** 32)
}

// One for each direction and thread: a module is instantiated once per thread, calls do not nest.
let outgoing: Header | undefined
let incoming: Header | undefined

/**
 * sendmsg(2) with descriptors of ours, which stay ours: the message holds them too. Never raises
 * SIGPIPE. Answers bytes; on a SEQPACKET socket all or none.
 */
export function sendMessage(
  fd: number,
  bytes: Uint8Array,
  fds: readonly number[] = NO_FDS,
  flags = 0,
): Result {
  outgoing ??= new Header()
  outgoing.putFds(fds)
  outgoing.stage(bytes.byteLength).set(bytes)
  return restarted(sendmsg, fd, outgoing.bytes, flags | MSG_NOSIGNAL)
}

/** recvmsg(2): one message into the start of `into`, and the descriptors that came with it. */
export function receiveMessage(fd: number, into: Uint8Array, flags = 0): ReceivedMessage | Result {
  incoming ??= new Header()
  incoming.expectFds()
  const stage = incoming.stage(into.byteLength)
  const result = restarted(recvmsg, fd, incoming.bytes, flags | MSG_CMSG_CLOEXEC)
  if (result < 0) return result
  const length = Math.min(result, into.byteLength)
  into.set(length === stage.byteLength ? stage : stage.subarray(0, length))
  return {
    length,
    fds: incoming.takeFds(),
    truncated: (incoming.flags & MSG_TRUNC) !== 0,
    fdsTruncated: (incoming.flags & MSG_CTRUNC) !== 0,
  }
}
