import { ProtocolError } from '../base/errors.ts'
import { MessageBuffer } from '../native/messages.ts'
import { INLINE_BODY_MAX } from './limits.ts'

/**
 * The wire between a client and the host: SEQPACKET messages, little endian, one request and one
 * reply. Every message starts with 16 bytes:
 *
 *      0        2        4            8            12           16
 *     +--------+--------+------------+------------+------------+--- …
 *     |   op   | flags  |   serial   |   result   |   length   | body
 *     +--------+--------+------------+------------+------------+--- …
 *
 * `result` is 0 in a request; in a reply it is what the call answers: 0 or more, or -errno.
 * `length` counts the body. A body of more than INLINE_BODY_MAX bytes lies in a memfd instead,
 * the first descriptor of the message, and the flag BODY_IN_FD is set.
 */
export const WIRE_VERSION = 1
export const WIRE_MAGIC = 0x4d4f4458
export const HEADER_SIZE = 16
export const FLAG_BODY_IN_FD = 1
/** Nobody waits: there is no reply, and the operation is none. The host looks into the outboxes. */
export const FLAG_ONE_WAY = 4

/**
 * An outbox is memory that a client shares with the host, for calls of which the answer is known to
 * be 0. The host carries them out before it answers anybody's next call, so that whoever asks finds
 * their effect, and nobody had to wait for it:
 *
 *      0          4          16        24     28       32
 *     +----------+----------+---------+------+--------+--------+---------+------+--------+--- …
 *     |  length  |    0     |  time   |  op  | length |  body  |  time   |  op  | length | body …
 *     +----------+----------+---------+------+--------+--------+---------+------+--------+--- …
 *                           └─────────────────── length bytes ──────────────────────────────┘
 *
 * The client appends: it writes behind what is there, then moves `length` from what it was to what
 * it is by compare and exchange. The host takes a copy, then moves `length` to 0 in the same way;
 * whoever of the two finds that the other was there first does its part again. Calls of several
 * clients are carried out in the order of their times, nanoseconds of CLOCK_MONOTONIC: it matters
 * to a grant whether its mapping or its page went first.
 */
export const OUTBOX_LENGTH = 0

export const OP = {
  /** Nothing but what is queued. */
  none: 0,
  hello: 1,
  open: 2,
  ioctl: 3,
  mmap: 4,
  munmap: 5,
  protect: 6,
  dup: 7,
  close: 8,
  /** The descriptor of a chunk whose pages this process maps. */
  chunk: 9,
  /** The granter holds its own writable mapping of a read-only chunk: it may be sealed. */
  chunkMapped: 10,
  /** How to reach the peer of a bound port. */
  peer: 11,
  explain: 12,
  /** JSON in, JSON out: status, domains, limits, time. On the control socket only. */
  admin: 13,
  /** MAP_GRANT_REF of which the client knows the index already: queued, and checked. */
  book: 14,
  /** The address of a mapping that was asked for elsewhere: queued, once its pages are mapped. */
  place: 15,
  /** Memory for queued calls, shared with this client. */
  outbox: 16,
} as const
export type Op = (typeof OP)[keyof typeof OP]

/** In the answer to an ioctl: whether it bound a port, and one that has its first event already. */
export const BOUND = { nothing: 0, idle: 1, raised: 2 } as const

/**
 * The address, in an mmap, of what the kernel of Linux will choose one for when the pages are
 * mapped: above user space, and taken until the host is told which.
 */
export const NOWHERE: number = 2 ** 48

/** In an explain: no descriptor, but what no descriptor was made for. */
export const NO_FD = 0xffffffff

/** What is read of a message, wherever it lies. */
export type MessageBytes = Pick<MessageBuffer, 'bytes' | 'words'>

/** Bytes within a message. */
export interface BytesPlace {
  readonly bytes: Uint8Array
  readonly at: number
  readonly length: number
}

/** Up to so many bytes a loop copies faster than a call that needs an array of its own. */
const COPY_LOOP_MAX = 128
/** Words of a message that travels in the socket. */
const CAPACITY = (HEADER_SIZE + INLINE_BODY_MAX) / 4
const HEADER_WORDS = HEADER_SIZE / 4

/**
 * A message being written: its header, then the fields of its body, where they will be sent from.
 * It is used again for the next one: a fresh array for each costs more than the call.
 */
export class BodyWriter {
  #buffer: MessageBuffer = new MessageBuffer(4 * CAPACITY)
  #words: Uint32Array = this.#buffer.words
  #capacity: number = CAPACITY
  /** The word to be written next. */
  #at: number = HEADER_WORDS

  /** Header and body; good until the next field is written. */
  get buffer(): MessageBuffer {
    return this.#buffer
  }

  /** Bytes of the body, a multiple of four. */
  get length(): number {
    return 4 * (this.#at - HEADER_WORDS)
  }

  /** Writes the header, for the body as it is now. */
  head(op: number, flags: number, serial: number, result: number): this {
    const words = this.#words
    words[0] = op | (flags << 16)
    words[1] = serial
    words[2] = result
    words[3] = this.length
    return this
  }

  /** Begins the next message. */
  cut(): this {
    // A rare body of megabytes does not keep its room.
    if (this.#capacity > CAPACITY) this.#use(new MessageBuffer(4 * CAPACITY))
    this.#at = HEADER_WORDS
    return this
  }

  u32(value: number): this {
    if (this.#at === this.#capacity) this.#grow(1)
    this.#words[this.#at++] = value
    return this
  }

  /** A number up to 2^53, as u64. */
  u64(value: number): this {
    if (this.#at + 2 > this.#capacity) this.#grow(2)
    const at = this.#at
    this.#words[at] = value
    this.#words[at + 1] = Math.floor(value / 2 ** 32)
    this.#at = at + 2
    return this
  }

  /** Replaces a u32 that was written at a place in the body. */
  replaceU32(at: number, value: number): void {
    this.#words[HEADER_WORDS + (at >>> 2)] = value
  }

  /** A length and the bytes, padded to four. */
  bytes(value: Uint8Array): this {
    return this.bytesOf(value, 0, value.length)
  }

  /** As {@link bytes}, for bytes of `value` from `from` up to, and without, `to`. */
  bytesOf(value: Uint8Array, from: number, to: number): this {
    const length = to - from
    const end = this.#at + 1 + ((length + 3) >>> 2)
    if (end > this.#capacity) this.#grow(end - this.#at)
    const { bytes } = this.#buffer
    const start = 4 * (this.#at + 1)
    this.#words[end - 1] = 0
    this.#words[this.#at] = length
    if (length > COPY_LOOP_MAX) bytes.set(value.subarray(from, to), start)
    else for (let i = 0; i < length; i++) bytes[start + i] = value[from + i] as number
    this.#at = end
    return this
  }

  text(value: string): this {
    return this.bytes(new TextEncoder().encode(value))
  }

  /** Copies the body as it is now to the words of `target` from `at` on. */
  copyTo(target: Uint32Array, at: number): void {
    const words = this.#words
    const end = this.#at
    if (end > COPY_LOOP_MAX) target.set(words.subarray(HEADER_WORDS, end), at)
    else for (let i = HEADER_WORDS; i < end; i++) target[at + i - HEADER_WORDS] = words[i] as number
  }

  #grow(more: number): void {
    const bigger = new MessageBuffer(4 * Math.max(2 * this.#capacity, this.#at + more))
    bigger.words.set(this.#words)
    this.#use(bigger)
  }

  #use(buffer: MessageBuffer): void {
    this.#buffer = buffer
    this.#words = buffer.words
    this.#capacity = buffer.words.length
  }
}

/**
 * Reads the fields of a body where it was received; a body that ends early is a peer that broke the
 * protocol. Good until the next message is received in the same place.
 */
export class BodyReader {
  readonly #buffer: MessageBytes
  /** Always a multiple of four, or the end. */
  #at: number
  readonly #end: number

  /** Reads bytes from `at`, a multiple of four, to `end`. */
  constructor(buffer: MessageBytes, at: number, end: number) {
    this.#buffer = buffer
    this.#at = at
    this.#end = end
  }

  u32(): number {
    const at = this.#at
    if (at + 4 > this.#end) this.#endsEarly(4)
    this.#at = at + 4
    return this.#buffer.words[at >>> 2] as number
  }

  u64(): number {
    const at = this.#at
    if (at + 8 > this.#end) this.#endsEarly(8)
    this.#at = at + 8
    const { words } = this.#buffer
    return (words[(at >>> 2) + 1] as number) * 2 ** 32 + (words[at >>> 2] as number)
  }

  /** A copy: it outlives the message. */
  bytes(): Uint8Array {
    const length = this.u32()
    const at = this.#take(length)
    const { bytes } = this.#buffer
    if (length > COPY_LOOP_MAX) return bytes.slice(at, at + length)
    const copy = new Uint8Array(length)
    for (let i = 0; i < length; i++) copy[i] = bytes[at + i] as number
    return copy
  }

  /** The same, copied to a place in `target`. */
  into(target: Uint8Array, offset: number): void {
    const length = this.u32()
    const at = this.#take(length)
    const { bytes } = this.#buffer
    if (length > COPY_LOOP_MAX) target.set(bytes.subarray(at, at + length), offset)
    else for (let i = 0; i < length; i++) target[offset + i] = bytes[at + i] as number
  }

  /** Where the bytes lie that come next, for as long as the message does. */
  place(): BytesPlace {
    const length = this.u32()
    const at = this.#take(length)
    return { bytes: this.#buffer.bytes, at, length }
  }

  /** The same fields, to be read later, up to the end of the `bytes` that come next. */
  inner(): BodyReader {
    const length = this.u32()
    const at = this.#take(length)
    return new BodyReader(this.#buffer, at, at + length)
  }

  text(): string {
    return new TextDecoder().decode(this.bytes())
  }

  /** Nothing follows. */
  get isAtEnd(): boolean {
    return this.#at === this.#end
  }

  /** Nothing may follow the last field. */
  end(): void {
    if (this.isAtEnd) return
    throw new ProtocolError(
      'ERR_HOST_PROTOCOL',
      `message body has ${this.#end - this.#at} bytes after its last field`,
    )
  }

  /** Passes `length` bytes and what pads them to four; the last field may go without padding. */
  #take(length: number): number {
    const at = this.#at
    if (length > this.#end - at) this.#endsEarly(length)
    this.#at = Math.min(at + length + (-length & 3), this.#end)
    return at
  }

  #endsEarly(wanted: number): never {
    throw new ProtocolError(
      'ERR_HOST_PROTOCOL',
      `message body ends early: ${wanted} bytes wanted, ${this.#end - this.#at} there`,
    )
  }
}
