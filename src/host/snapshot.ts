import { readU32 } from '../abi/bytes.ts'
import { ProtocolError } from '../base/errors.ts'
import type { UserMemory } from '../kernel/user-memory.ts'
import { SNAPSHOT_RANGES_MAX } from './limits.ts'
import type { BodyReader, BodyWriter, BytesPlace } from './wire.ts'

/** A run of a client's memory that travels with a call. */
export interface MemoryRange {
  readonly address: number
  readonly bytes: Uint8Array
  readonly writable: boolean
}

/** The same as it arrived: its bytes are a part of the message. */
export interface ReceivedRange extends BytesPlace {
  readonly address: number
  readonly writable: boolean
}

/** What a call stored into the client's memory: bytes of a range, as they are once it is done. */
export interface MemoryWrite {
  readonly range: ReceivedRange
  /** Bytes of the range, from here up to, and without, `end`. */
  readonly from: number
  end: number
}

/** Up to so many bytes a loop copies faster than slice(). */
const COPY_LOOP_MAX = 128

/** Stores that are remembered one by one; of more only which bytes they were. */
const WRITES_MAX = 1024

/**
 * The memory of a client as the driver sees it during one call: what the client sent along, read
 * once; everything outside of it faults. The driver's stores are kept, to be sent back.
 */
export class Snapshot implements UserMemory {
  readonly #ranges: ReceivedRange[]
  readonly #writes: MemoryWrite[] = []
  /** A bit for each byte that was stored to, once there were many stores. */
  #stored: Map<ReceivedRange, Uint32Array> | undefined

  /** The ranges must be in ascending order and apart from each other. */
  constructor(ranges: ReceivedRange[]) {
    for (let i = 1; i < ranges.length; i++) {
      const before = ranges[i - 1] as ReceivedRange
      if (before.address + before.length > (ranges[i] as ReceivedRange).address) {
        throw new ProtocolError('ERR_HOST_PROTOCOL', `memory range ${i} overlaps the one before`)
      }
    }
    this.#ranges = ranges
  }

  /** In the order in which they were made; in that of their addresses once there were many. */
  get writes(): readonly MemoryWrite[] {
    return this.#stored ? [...storedRuns(this.#ranges, this.#stored)] : this.#writes
  }

  /** The same one by one, where there were so many that it takes time. */
  get manyWrites(): Iterable<MemoryWrite> | undefined {
    return this.#stored && storedRuns(this.#ranges, this.#stored)
  }

  view(address: number, length: number): Uint8Array | undefined {
    const only = this.#whole(address, length)
    if (!only) return this.read(address, length)
    const at = only.at + address - only.address
    return only.bytes.subarray(at, at + length)
  }

  read(address: number, length: number): Uint8Array | undefined {
    // Nearly always: a struct at the start of the argument.
    const only = this.#whole(address, length)
    if (only) return copyOf(only, address - only.address, length)
    // Before anything of that length is made: it is the client's word.
    if (!this.canAccess(address, length, false)) return undefined
    const result = new Uint8Array(length)
    this.#walk(address, length, false, (range, from, at, count) => {
      result.set(range.bytes.subarray(range.at + from, range.at + from + count), at)
    })
    return result
  }

  write(address: number, bytes: Uint8Array): boolean {
    const only = this.#whole(address, bytes.length)
    if (only?.writable) {
      const from = address - only.address
      only.bytes.set(bytes, only.at + from)
      this.#remember(only, from, bytes.length)
      return true
    }
    const end = this.#walk(address, bytes.byteLength, true, (range, from, at, count) => {
      range.bytes.set(bytes.subarray(at, at + count), range.at + from)
      this.#remember(range, from, count)
    })
    return end === bytes.byteLength
  }

  /**
   * A GRANT_COPY can store 700,000 times to the same page: what is kept, and sent back, must not be
   * more than what the client sent.
   */
  #remember(range: ReceivedRange, from: number, count: number): void {
    const end = from + count
    if (this.#stored) mark(this.#stored, range, from, end)
    else if (this.#writes.length < WRITES_MAX) this.#writes.push({ range, from, end })
    else {
      this.#stored = new Map()
      for (const write of this.#writes) mark(this.#stored, write.range, write.from, write.end)
      mark(this.#stored, range, from, end)
    }
  }

  /** The range in which all of a run lies. */
  #whole(address: number, length: number): ReceivedRange | undefined {
    const at = this.#find(address)
    const range = at < 0 ? undefined : this.#ranges[at]
    if (!range || length === 0) return undefined
    return address + length <= range.address + range.length ? range : undefined
  }

  canAccess(address: number, length: number, writable: boolean): boolean {
    return this.#walk(address, length, writable, () => undefined) === length
  }

  /** The first four bytes of the lowest range: the argument of the calls that take a single u32. */
  get firstU32(): number {
    const first = this.#ranges[0]
    return first && first.length >= 4 ? readU32(first.bytes, first.at) : 0
  }

  /** Visits the pieces of a run until one is missing; answers the bytes visited. */
  #walk(
    address: number,
    length: number,
    writable: boolean,
    visit: (range: ReceivedRange, from: number, at: number, count: number) => void,
  ): number {
    let done = 0
    for (let i = this.#find(address); done < length; i++) {
      const range = this.#ranges[i]
      const from = range ? address + done - range.address : -1
      if (!range || from < 0 || from >= range.length) break
      if (writable && !range.writable) break
      const count = Math.min(length - done, range.length - from)
      visit(range, from, done, count)
      done += count
    }
    return done
  }

  /** Index of the last range that starts at or below `address`. */
  #find(address: number): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#ranges[middle] as ReceivedRange).address <= address) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}

/** A private copy of bytes of a range: a short one by a loop, since slice() costs 100 ns. */
function copyOf({ bytes, at }: ReceivedRange, from: number, length: number): Uint8Array {
  const start = at + from
  if (length > COPY_LOOP_MAX) return bytes.slice(start, start + length)
  const copy = new Uint8Array(length)
  for (let i = 0; i < length; i++) copy[i] = bytes[start + i] as number
  return copy
}

/** Notes that the bytes of a range from `from` up to, and without, `end` were stored to. */
function mark(
  stored: Map<ReceivedRange, Uint32Array>,
  range: ReceivedRange,
  from: number,
  end: number,
): void {
  let bits = stored.get(range)
  if (!bits) {
    bits = new Uint32Array(Math.ceil(range.length / 32))
    stored.set(range, bits)
  }
  for (let at = from; at < end; ) {
    const first = at & 31
    const count = Math.min(32 - first, end - at)
    const ones = count === 32 ? 0xffffffff : ((1 << count) - 1) << first
    bits[at >>> 5] = (bits[at >>> 5] ?? 0) | ones
    at += count
  }
}

/** Runs of bytes that were stored to, in ascending order. */
function* storedRuns(
  ranges: readonly ReceivedRange[],
  stored: ReadonlyMap<ReceivedRange, Uint32Array>,
): Generator<MemoryWrite> {
  for (const range of ranges) {
    const bits = stored.get(range)
    let from = bits ? nextOf(bits, 0, true) : range.length
    while (bits && from < range.length) {
      const end = Math.min(nextOf(bits, from, false), range.length)
      yield { range, from, end }
      from = nextOf(bits, end, true)
    }
  }
}

/** The first place from `at` on where the bit is as wanted; the end when there is none. */
function nextOf(bits: Uint32Array, at: number, wanted: boolean): number {
  const end = 32 * bits.length
  for (let word = at >>> 5; word < bits.length; word++) {
    let left = bits[word] as number
    if (!wanted) left = ~left
    if (word === at >>> 5) left &= -1 << (at & 31)
    if (left !== 0) return 32 * word + 31 - Math.clz32(left & -left)
  }
  return end
}

export function encodeRanges(body: BodyWriter, ranges: readonly MemoryRange[]): void {
  body.u32(ranges.length)
  for (const range of ranges) {
    body
      .u64(range.address)
      .u32(range.writable ? 1 : 0)
      .bytes(range.bytes)
  }
}

export function decodeRanges(body: BodyReader): ReceivedRange[] {
  const count = body.u32()
  if (count > SNAPSHOT_RANGES_MAX) {
    throw new ProtocolError(
      'ERR_HOST_PROTOCOL',
      `${count} memory ranges in one call, at most ${SNAPSHOT_RANGES_MAX}`,
    )
  }
  const ranges: ReceivedRange[] = []
  for (let i = 0; i < count; i++) {
    const address = body.u64()
    const writable = (body.u32() & 1) === 1
    const { bytes, at, length } = body.place()
    ranges.push({ address, writable, bytes, at, length })
  }
  return ranges
}

export function encodeWrites(body: BodyWriter, writes: readonly MemoryWrite[]): void {
  body.u32(writes.length)
  for (const write of writes) encodeWrite(body, write)
}

/** The same in steps of up to so many, until it answers true. */
export function writesEncoder(
  body: BodyWriter,
  writes: Iterable<MemoryWrite>,
): (max: number) => boolean {
  const at = body.length
  const left = writes[Symbol.iterator]()
  let count = 0
  body.u32(0)
  return max => {
    for (let i = 0; i < max; i++) {
      const { value, done } = left.next()
      if (done) {
        body.replaceU32(at, count)
        return true
      }
      encodeWrite(body, value)
      count++
    }
    return false
  }
}

function encodeWrite(body: BodyWriter, { range, from, end }: MemoryWrite): void {
  body.u64(range.address + from).bytesOf(range.bytes, range.at + from, range.at + end)
}
