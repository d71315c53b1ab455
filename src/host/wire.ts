import { viewOf } from '../abi/bytes.ts'
import { ProtocolError } from '../base/errors.ts'
import { QUEUED_CALLS_MAX } from './limits.ts'

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
/** The body starts with calls that go ahead of this one; see {@link encodeQueued}. */
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
  const view = viewOf(bytes)
  view.setUint16(0, message.op, true)
  view.setUint16(2, message.flags, true)
  view.setUint32(4, message.serial, true)
  view.setInt32(8, message.result, true)
  view.setUint32(12, message.length, true)
}

export function readHeader(bytes: Uint8Array): Message {
  const view = viewOf(bytes)
  return {
    op: view.getUint16(0, true),
    flags: view.getUint16(2, true),
    serial: view.getUint32(4, true),
    result: view.getInt32(8, true),
    length: view.getUint32(12, true),
  }
}

/** A call that goes ahead of another: its outcome is known before it is made. */
export interface QueuedCall {
  readonly op: number
  readonly body: Uint8Array
}

/**
 * Calls without an effect that anybody could see yet travel ahead of the next one that has some:
 *
 *      0         4        8         12
 *     +---------+--------+---------+--- … --+--------+---------+--- …
 *     |  count  |   op   | length  | body   |   op   | length  | body …   then the call's own body
 *     +---------+--------+---------+--- … --+--------+---------+--- …
 *
 * Each must answer 0: the client went on as if it had, so a host that sees another answer has a
 * client that it does not understand.
 */
export function encodeQueued(body: BodyWriter, calls: readonly QueuedCall[]): void {
  body.u32(calls.length)
  for (const call of calls) body.u32(call.op).bytes(call.body)
}

export function decodeQueued(body: BodyReader): QueuedCall[] {
  const count = body.u32()
  if (count > QUEUED_CALLS_MAX) {
    throw new ProtocolError(
      'ERR_HOST_PROTOCOL',
      `${count} queued calls in a message, at most ${QUEUED_CALLS_MAX}`,
    )
  }
  return Array.from({ length: count }, () => ({ op: body.u32(), body: body.bytes() }))
}

/** Appends fields to a growing body. */
export class BodyWriter {
  #bytes: Uint8Array
  #view: DataView
  #length = 0

  constructor(capacity = 64) {
    this.#bytes = new Uint8Array(capacity)
    this.#view = viewOf(this.#bytes)
  }

  u32(value: number): this {
    this.#reserve(4)
    this.#view.setUint32(this.#length, value, true)
    this.#length += 4
    return this
  }

  i32(value: number): this {
    return this.u32(value >>> 0)
  }

  /** A number up to 2^53, as u64. */
  u64(value: number): this {
    this.u32(value >>> 0)
    return this.u32(Math.floor(value / 2 ** 32))
  }

  /** A length and the bytes, padded to four. */
  bytes(value: Uint8Array): this {
    this.u32(value.byteLength)
    this.#reserve(value.byteLength + 3)
    this.#bytes.set(value, this.#length)
    this.#length += (value.byteLength + 3) & ~3
    return this
  }

  text(value: string): this {
    return this.bytes(new TextEncoder().encode(value))
  }

  /** Bytes that carry their own length, or none. */
  raw(value: Uint8Array): this {
    this.#reserve(value.byteLength)
    this.#bytes.set(value, this.#length)
    this.#length += value.byteLength
    return this
  }

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.byteLength) return
    const bigger = new Uint8Array(Math.max(this.#bytes.byteLength * 2, this.#length + more))
    bigger.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = bigger
    this.#view = viewOf(bigger)
  }
}

/** Reads the fields of a body; a body that ends early is a peer that broke the protocol. */
export class BodyReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = viewOf(bytes)
  }

  u32(): number {
    const at = this.#take(4)
    return this.#view.getUint32(at, true)
  }

  i32(): number {
    return this.u32() | 0
  }

  u64(): number {
    const low = this.u32()
    return this.u32() * 2 ** 32 + low
  }

  /** A copy: what is read once is never read again from a place that a peer can write. */
  bytes(): Uint8Array {
    const length = this.u32()
    const at = this.#take(length)
    this.#at = Math.min((this.#at + 3) & ~3, this.#bytes.byteLength)
    return this.#bytes.slice(at, at + length)
  }

  text(): string {
    return new TextDecoder().decode(this.bytes())
  }

  /** Nothing may follow the last field. */
  end(): void {
    if (this.#at !== this.#bytes.byteLength) {
      throw new ProtocolError(
        'ERR_HOST_PROTOCOL',
        `message body has ${this.#bytes.byteLength} bytes, its fields end at ${this.#at}`,
      )
    }
  }

  #take(length: number): number {
    const at = this.#at
    if (length > this.#bytes.byteLength - at) {
      throw new ProtocolError(
        'ERR_HOST_PROTOCOL',
        `message body ends early: ${length} bytes wanted at ${at}, ` +
          `${this.#bytes.byteLength - at} there`,
      )
    }
    this.#at += length
    return at
  }
}
