import { readU16, readU32, writeU16, writeU32 } from '../abi/bytes.ts'
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
/**
 * The body starts with calls that go ahead of this one, without an effect that others see yet:
 *
 *      0         4        8         12
 *     +---------+--------+---------+--- … --+--------+---------+--- …
 *     |  count  |   op   | length  | body   |   op   | length  | body …   then the call's own body
 *     +---------+--------+---------+--- … --+--------+---------+--- …
 *
 * Each must answer 0: the client went on as if it had, so a host that sees another answer has a
 * client that it does not understand.
 */
export const FLAG_QUEUED = 2
/** Nobody waits: there is no reply, and the operation is the queued calls alone. */
export const FLAG_ONE_WAY = 4

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
} as const
export type Op = (typeof OP)[keyof typeof OP]

export interface Message {
  op: number
  flags: number
  serial: number
  result: number
  /** Bytes of the body, wherever they lie. */
  length: number
}

export function writeHeader(bytes: Uint8Array, message: Message): void {
  writeU16(bytes, 0, message.op)
  writeU16(bytes, 2, message.flags)
  writeU32(bytes, 4, message.serial)
  writeU32(bytes, 8, message.result)
  writeU32(bytes, 12, message.length)
}

export function readHeader(bytes: Uint8Array): Message {
  return {
    op: readU16(bytes, 0),
    flags: readU16(bytes, 2),
    serial: readU32(bytes, 4),
    result: readU32(bytes, 8) | 0,
    length: readU32(bytes, 12),
  }
}

/** Up to so many bytes a loop copies faster than a call that needs an array of its own. */
const COPY_LOOP_MAX = 128
/** Bytes of a message that travels in the socket. */
const CAPACITY = HEADER_SIZE + INLINE_BODY_MAX

/**
 * A message being written: room for its header, then the fields of its body, where they will be
 * sent from. It is used again for the next one: a fresh array for each costs more than the call.
 */
export class BodyWriter {
  #buffer: MessageBuffer = new MessageBuffer(CAPACITY)
  #bytes: Uint8Array = this.#buffer.bytes
  #end: number = HEADER_SIZE

  /** Header and body; good until the next field is written. */
  get buffer(): MessageBuffer {
    return this.#buffer
  }

  /** Bytes of the body. */
  get length(): number {
    return this.#end - HEADER_SIZE
  }

  /** Forgets what follows the first `length` bytes of the body. */
  cut(length = 0): this {
    // A rare body of megabytes does not keep its room.
    if (length === 0 && this.#bytes.byteLength > CAPACITY) this.#use(new MessageBuffer(CAPACITY))
    this.#end = HEADER_SIZE + length
    return this
  }

  u32(value: number): this {
    if (this.#end + 4 > this.#bytes.byteLength) this.#grow(4)
    writeU32(this.#bytes, this.#end, value)
    this.#end += 4
    return this
  }

  /** A number up to 2^53, as u64. */
  u64(value: number): this {
    return this.u32(value >>> 0).u32(Math.floor(value / 2 ** 32))
  }

  /** Replaces a u32 that was written at a place in the body. */
  replaceU32(at: number, value: number): void {
    writeU32(this.#bytes, HEADER_SIZE + at, value)
  }

  /** A length and the bytes, padded to four. */
  bytes(value: Uint8Array): this {
    return this.bytesOf(value, 0, value.byteLength)
  }

  /** As {@link bytes}, for bytes of `value` from `from` up to, and without, `to`. */
  bytesOf(value: Uint8Array, from: number, to: number): this {
    const length = to - from
    const padded = (length + 3) & ~3
    this.u32(length)
    if (this.#end + padded > this.#bytes.byteLength) this.#grow(padded)
    const bytes = this.#bytes
    const at = this.#end
    if (length > COPY_LOOP_MAX) bytes.set(value.subarray(from, to), at)
    else for (let i = 0; i < length; i++) bytes[at + i] = value[from + i] as number
    for (let i = length; i < padded; i++) bytes[at + i] = 0
    this.#end = at + padded
    return this
  }

  text(value: string): this {
    return this.bytes(new TextEncoder().encode(value))
  }

  #grow(more: number): void {
    const bigger = new MessageBuffer(Math.max(this.#bytes.byteLength * 2, this.#end + more))
    bigger.bytes.set(this.#bytes.subarray(0, this.#end))
    this.#use(bigger)
  }

  #use(buffer: MessageBuffer): void {
    this.#buffer = buffer
    this.#bytes = buffer.bytes
  }
}

/**
 * Reads the fields of a body where it was received; a body that ends early is a peer that broke the
 * protocol. Good until the next message is received in the same place.
 */
export class BodyReader {
  readonly #bytes: Uint8Array
  #at: number
  #end: number

  /** Reads bytes from `at` to `end`. */
  constructor(bytes: Uint8Array, at = 0, end: number = bytes.byteLength) {
    this.#bytes = bytes
    this.#at = at
    this.#end = end
  }

  u32(): number {
    return readU32(this.#bytes, this.#take(4))
  }

  u64(): number {
    const low = this.u32()
    return this.u32() * 2 ** 32 + low
  }

  /** A copy: it outlives the message. */
  bytes(): Uint8Array {
    const length = this.u32()
    const at = this.#take(length)
    this.#pad()
    if (length > COPY_LOOP_MAX) return this.#bytes.slice(at, at + length)
    const copy = new Uint8Array(length)
    for (let i = 0; i < length; i++) copy[i] = this.#bytes[at + i] as number
    return copy
  }

  /** The same fields, to be read later, up to the end of the `bytes` that come next. */
  inner(): BodyReader {
    const length = this.u32()
    const at = this.#take(length)
    this.#pad()
    return new BodyReader(this.#bytes, at, at + length)
  }

  text(): string {
    return new TextDecoder().decode(this.bytes())
  }

  /** Nothing may follow the last field. */
  end(): void {
    if (this.#at === this.#end) return
    throw new ProtocolError(
      'ERR_HOST_PROTOCOL',
      `message body has ${this.#end - this.#at} bytes after its last field`,
    )
  }

  /** What follows `bytes`, up to a multiple of four; the last field may go without. */
  #pad(): void {
    this.#at = Math.min((this.#at + 3) & ~3, this.#end)
  }

  #take(length: number): number {
    const at = this.#at
    if (length > this.#end - at) {
      throw new ProtocolError(
        'ERR_HOST_PROTOCOL',
        `message body ends early: ${length} bytes wanted, ${this.#end - at} there`,
      )
    }
    this.#at = at + length
    return at
  }
}
