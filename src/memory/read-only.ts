import { ClosedError } from '../base/errors.ts'

/**
 * Memory of a peer that may only be read, without the means to write it: a store through a plain
 * Uint8Array over such pages would end the process with SIGSEGV.
 *
 * Each number is one load of memory that the peer may change meanwhile, in the byte order of the
 * ABI (little endian). Whoever takes a decision from one keeps it in a local and never reads twice.
 * At a multiple of its size a number is loaded atomically, so it is never torn and a loop that
 * waits for it to change sees the change.
 */
export class ReadOnlyBytes {
  readonly length: number
  readonly #what: string
  #view: (() => Uint8Array) | undefined
  #words: Words | undefined

  /**
   * `view` gives the bytes, and is called when they are first looked at: a mapping whose bytes are
   * never read has no ArrayBuffer (see Ranges). `what` names them in a ClosedError.
   */
  constructor(what: string, length: number, view: () => Uint8Array) {
    this.#what = what
    this.length = length
    this.#view = view
  }

  /** Copies `[from, to)` to the start of `target`; answers the number of bytes. */
  copyTo(target: Uint8Array, from = 0, to: number = this.length): number {
    const { bytes } = this.#open()
    this.#checkRange(from, to)
    if (to - from > target.byteLength)
      throw new RangeError(`${to - from} bytes into a target of ${target.byteLength}`)
    target.set(bytes.subarray(from, to))
    return to - from
  }

  /** A copy of `[from, to)`. */
  slice(from = 0, to: number = this.length): Uint8Array {
    const { bytes } = this.#open()
    this.#checkRange(from, to)
    return bytes.slice(from, to)
  }

  u8(offset: number): number {
    return Atomics.load(this.#at(offset, 1).bytes, offset)
  }

  u16(offset: number): number {
    const { base, u16, view } = this.#at(offset, 2)
    const at = base + offset
    return at % 2 === 0 ? Atomics.load(u16, at / 2) : view.getUint16(offset, true)
  }

  u32(offset: number): number {
    const { base, u32, view } = this.#at(offset, 4)
    const at = base + offset
    return at % 4 === 0 ? Atomics.load(u32, at / 4) : view.getUint32(offset, true)
  }

  u64(offset: number): bigint {
    const { base, u64, view } = this.#at(offset, 8)
    const at = base + offset
    return at % 8 === 0 ? Atomics.load(u64, at / 8) : view.getBigUint64(offset, true)
  }

  /**
   * The pages themselves, without a copy, for code that takes a Uint8Array and is known only to
   * read. A store through them, or through anything made of their `buffer`, ends the process with
   * SIGSEGV; no `catch` helps. Kept after the unmapping they read zeroes.
   */
  unsafeBytes(): Uint8Array {
    return this.#open().bytes
  }

  /** From now on everything but `length` throws ClosedError. Idempotent. */
  release(): void {
    this.#view = undefined
    this.#words = undefined
  }

  #open(): Words {
    if (this.#words) return this.#words
    if (!this.#view) throw new ClosedError(this.#what)
    this.#words = wordsOf(this.#view())
    return this.#words
  }

  #at(offset: number, size: number): Words {
    const words = this.#open()
    if (!Number.isInteger(offset) || offset < 0 || offset + size > this.length)
      throw new RangeError(`${size} bytes at ${offset} of ${this.length}`)
    return words
  }

  #checkRange(from: number, to: number): void {
    const isWhole = Number.isInteger(from) && Number.isInteger(to)
    if (!isWhole || from < 0 || to < from || to > this.length)
      throw new RangeError(`bytes ${from} to ${to} of ${this.length}`)
  }
}

/** The bytes, and their whole buffer by words: pages start at a multiple of every word's size. */
interface Words {
  readonly bytes: Uint8Array
  /** Where the bytes begin in the buffer. */
  readonly base: number
  readonly view: DataView
  readonly u16: Uint16Array
  readonly u32: Uint32Array
  readonly u64: BigUint64Array
}

function wordsOf(bytes: Uint8Array): Words {
  const { buffer, byteOffset, byteLength } = bytes
  return {
    bytes,
    base: byteOffset,
    view: new DataView(buffer, byteOffset, byteLength),
    u16: new Uint16Array(buffer, 0, buffer.byteLength >>> 1),
    u32: new Uint32Array(buffer, 0, buffer.byteLength >>> 2),
    u64: new BigUint64Array(buffer, 0, Math.floor(buffer.byteLength / 8)),
  }
}
