import { decodeU32 } from '../abi/evtchn.ts'
import { ProtocolError } from '../base/errors.ts'
import type { UserMemory } from '../kernel/user-memory.ts'
import { SNAPSHOT_RANGES_MAX } from './limits.ts'
import type { BodyReader, BodyWriter } from './wire.ts'

/** A run of a client's memory that travels with a call. */
export interface MemoryRange {
  readonly address: number
  readonly bytes: Uint8Array
  readonly writable: boolean
}

/** What a call stored into the client's memory. */
export interface MemoryWrite {
  readonly address: number
  /** As they are once the call is done: a part of the range, which later stores change too. */
  readonly bytes: Uint8Array
}

/** Stores that are remembered one by one before those of the same bytes become one. */
const WRITES_FIRST = 1024

/**
 * The memory of a client as the driver sees it during one call: what the client sent along, read
 * once; everything outside of it faults. The driver's stores are kept, to be sent back.
 */
export class Snapshot implements UserMemory {
  readonly #ranges: MemoryRange[]
  #writes: MemoryWrite[] = []
  #writesMax = WRITES_FIRST

  /** The ranges must be in ascending order and apart from each other. */
  constructor(ranges: MemoryRange[]) {
    for (let i = 1; i < ranges.length; i++) {
      const before = ranges[i - 1] as MemoryRange
      if (before.address + before.bytes.byteLength > (ranges[i] as MemoryRange).address) {
        throw new ProtocolError('ERR_HOST_PROTOCOL', `memory range ${i} overlaps the one before`)
      }
    }
    this.#ranges = ranges
  }

  /** In the order in which they were made; in that of their addresses once there were many. */
  get writes(): readonly MemoryWrite[] {
    if (this.#writes.length > WRITES_FIRST) this.#compact()
    return this.#writes
  }

  read(address: number, length: number): Uint8Array | undefined {
    // Before anything of that length is made: it is the client's word.
    if (!this.canAccess(address, length, false)) return undefined
    const result = new Uint8Array(length)
    this.#walk(address, length, false, (range, from, at, count) => {
      result.set(range.bytes.subarray(from, from + count), at)
    })
    return result
  }

  write(address: number, bytes: Uint8Array): boolean {
    const end = this.#walk(address, bytes.byteLength, true, (range, from, at, count) => {
      range.bytes.set(bytes.subarray(at, at + count), from)
      const stored = range.bytes.subarray(from, from + count)
      this.#writes.push({ address: range.address + from, bytes: stored })
    })
    if (this.#writes.length > this.#writesMax) this.#compact()
    return end === bytes.byteLength
  }

  canAccess(address: number, length: number, writable: boolean): boolean {
    return this.#walk(address, length, writable, () => undefined) === length
  }

  /** The first four bytes of the lowest range: the argument of the calls that take a single u32. */
  get firstU32(): number {
    const first = this.#ranges[0]?.bytes
    return first && first.byteLength >= 4 ? decodeU32(first) : 0
  }

  /**
   * A GRANT_COPY can store 700,000 times to the same page: what is kept, and sent back, must not be
   * more than what the client sent.
   */
  #compact(): void {
    const sorted = this.#writes.sort((a, b) => a.address - b.address)
    const kept: MemoryWrite[] = []
    for (const write of sorted) {
      const last = kept.at(-1)
      const before = last ? write.address - last.address : Number.POSITIVE_INFINITY
      const isNext = last?.bytes.buffer === write.bytes.buffer && before <= last.bytes.byteLength
      if (!last || !isNext) kept.push(write)
      else {
        const length = Math.max(last.bytes.byteLength, before + write.bytes.byteLength)
        const bytes = new Uint8Array(last.bytes.buffer, last.bytes.byteOffset, length)
        kept[kept.length - 1] = { address: last.address, bytes }
      }
    }
    this.#writes = kept
    this.#writesMax = Math.max(WRITES_FIRST, 2 * kept.length)
  }

  /** Visits the pieces of a run until one is missing; answers the bytes visited. */
  #walk(
    address: number,
    length: number,
    writable: boolean,
    visit: (range: MemoryRange, from: number, at: number, count: number) => void,
  ): number {
    let done = 0
    for (let i = this.#find(address); done < length; i++) {
      const range = this.#ranges[i]
      const from = range ? address + done - range.address : -1
      if (!range || from < 0 || from >= range.bytes.byteLength) break
      if (writable && !range.writable) break
      const count = Math.min(length - done, range.bytes.byteLength - from)
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
      if ((this.#ranges[middle] as MemoryRange).address <= address) low = middle + 1
      else high = middle
    }
    return low - 1
  }
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

export function decodeRanges(body: BodyReader): MemoryRange[] {
  const count = body.u32()
  if (count > SNAPSHOT_RANGES_MAX) {
    throw new ProtocolError(
      'ERR_HOST_PROTOCOL',
      `${count} memory ranges in one call, at most ${SNAPSHOT_RANGES_MAX}`,
    )
  }
  const ranges: MemoryRange[] = []
  for (let i = 0; i < count; i++) {
    const address = body.u64()
    const writable = (body.u32() & 1) === 1
    ranges.push({ address, writable, bytes: body.bytes() })
  }
  return ranges
}

export function encodeWrites(body: BodyWriter, writes: readonly MemoryWrite[]): void {
  body.u32(writes.length)
  for (const { address, bytes } of writes) body.u64(address).bytes(bytes)
}

export function decodeWrites(body: BodyReader): MemoryWrite[] {
  return Array.from({ length: body.u32() }, () => ({ address: body.u64(), bytes: body.bytes() }))
}
