import { ERRNO } from '../abi/errno.ts'
import {
  isReadable,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_PRIVATE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../abi/mman.ts'
import { PAGE_SIZE, pagesOf } from '../abi/page.ts'
import { ClosedError } from '../base/errors.ts'
import { type Address, isMapped, mmap, mprotect, munmap, type Result } from '../native/libc.ts'
import { type MappingBudget, processBudget } from './budget.ts'
import { type Interval, IntervalList } from './intervals.ts'
import { LentBuffer, lenderOf } from './lent-buffer.ts'
import { type Piece, part, reachable, remains, split, without } from './pieces.ts'

/** A part of a file: of a device, or of a memfd. */
export interface FilePart {
  readonly fd: number
  /** Bytes into the file, a multiple of the page size. */
  readonly offset: number
  /** Bytes; the kernel rounds up to pages. */
  readonly length: number
}

export interface PlaceOptions {
  /** PROT_*. */
  readonly prot: number
  /** Exactly here, over whatever this memory has there. */
  readonly at?: Address | undefined
}

export interface MapOptions extends PlaceOptions {
  /** MAP_SHARED or MAP_PRIVATE, and MAP_POPULATE. */
  readonly flags: number
}

/** What a {@link Ranges} holds, in bytes: for leak checks and inspection. */
export interface MemoryUsage {
  readonly mapped: number
  /** Unmapped, with a view that somebody may still hold. */
  readonly tombstones: number
}

/** Calls mmap(2): `at` is 0 for an address of the kernel's choice, and `fixed` MAP_FIXED or 0. */
export type Mapper = (at: Address, fixed: number) => Address | Result

const ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS
const MAP_NORESERVE = 0x4000
const PLACEMENT = MAP_FIXED | MAP_FIXED_NOREPLACE
const READ_WRITE = PROT_READ | PROT_WRITE
const NO_LENDERS: readonly LentBuffer[] = []

/**
 * Memory of this process that can be unmapped while TypeScript still has views of it.
 *
 * Each mapped range has one ArrayBuffer, made at the first `view`, and every view is a part of it.
 * `munmap` of a range whose buffer is alive does not leave a hole, which would be a SIGSEGV for
 * whoever looks: it puts an anonymous zero page over it, a *tombstone*. A driver sees no difference
 * (cases 236 to 239 of the fact sheet). Late readers find zeroes, late writers reach nobody, and
 * the addresses go back to the kernel when the buffer has been collected. A range that was never
 * viewed is unmapped at once.
 *
 * Calls answer as system calls do, -errno included. RangeError is for addresses that this memory
 * did not give out, ClosedError for calls after `close()`. What else lies in the process (V8's
 * heap, libraries, another Ranges) is never touched, whatever address is named.
 */
export class Ranges {
  readonly #pieces = new IntervalList<Piece>()
  /** Pages that are mapped, and that nobody may look at now. */
  readonly #closed = new IntervalList<Interval>()
  readonly #budget: MappingBudget
  #isClosed = false

  /** -ENOMEM comes from `budget` before the kernel would say it, since V8 would die of the same. */
  constructor(budget: MappingBudget = processBudget) {
    this.#budget = budget
  }

  /** Anonymous zeroed memory, readable and writable, of whole pages; `at` as in {@link map}. */
  alloc(length: number, at?: Address): Address | Result {
    return this.mapOne(length, { prot: READ_WRITE, at }, (spot, fixed) =>
      mmap(spot, length, READ_WRITE, ANONYMOUS | fixed, -1, 0),
    )
  }

  /**
   * Maps a part of a file. Refusals are the kernel's and the driver's. With `at`, what this memory
   * has there goes as by `munmap`, but views of it that are still held see what comes instead.
   * RangeError when something else of the process lies there.
   */
  map(file: FilePart, { prot, flags, at }: MapOptions): Address | Result {
    const { fd, offset, length } = file
    return this.mapOne(length, { prot, at }, (spot, fixed) =>
      mmap(spot, length, prot, (flags & ~PLACEMENT) | fixed, fd, offset),
    )
  }

  /**
   * Maps parts of files one behind the other, as one range with one buffer: all of them or none.
   * Every length but the last is a multiple of the page size.
   */
  mapAll(files: readonly FilePart[], options: MapOptions): Address | Result {
    if (files.length === 1) return this.map(files[0]!, options)
    const { prot } = options
    const flags = (options.flags & ~PLACEMENT) | MAP_FIXED
    const whole = files.reduce((sum, file) => sum + file.length, 0)
    return this.mapBy(whole, files.length, options, start => {
      let next = start
      for (const { fd, offset, length } of files) {
        const result = mmap(next, length, prot, flags, fd, offset)
        if (result < 0) return result
        next += length
      }
      return 0
    })
  }

  /** Memory that `mapper` maps by a single kernel mapping. */
  mapOne(length: number, { prot, at }: PlaceOptions, mapper: Mapper): Address | Result {
    return this.#map(length, 1, { prot, at }, mapper)
  }

  /**
   * Memory that `fill` maps, as one range with one buffer: it is given addresses without memory to
   * map over, and answers 0 or -errno. `mappings` is how many of the kernel's it makes at most.
   */
  mapBy(
    length: number,
    mappings: number,
    { prot, at }: PlaceOptions,
    fill: (start: Address) => Result,
  ): Address | Result {
    return this.#map(length, mappings, { prot, at }, (spot, fixed) => {
      const start = hold(spot, length, fixed)
      const result = start < 0 ? start : fill(start)
      if (result >= 0) return start
      if (start >= 0) munmap(start, length)
      return result
    })
  }

  /**
   * Removes whole pages of any ranges; others it passes over. 0, also when there is nothing to
   * remove; -EINVAL for an address inside a page or no length; -ENOMEM when the kernel mappings
   * are used up that a page in the middle of a range needs.
   */
  munmap(address: Address, length: number): Result {
    checkLength(length)
    if (address % PAGE_SIZE !== 0 || length === 0) return -ERRNO.EINVAL
    const end = address + pagesOf(length) * PAGE_SIZE
    for (const piece of this.#pieces.overlapping(address, end)) {
      const result = this.#remove(piece, Math.max(piece.start, address), Math.min(piece.end, end))
      if (result < 0) return result
    }
    return 0
  }

  /** mprotect(2) of pages of any ranges, all of them mapped: else -ENOMEM, and none is changed. */
  protect(address: Address, length: number, prot: number): Result {
    this.#assertOpen()
    checkLength(length)
    if (address % PAGE_SIZE !== 0) return -ERRNO.EINVAL
    const end = address + pagesOf(length) * PAGE_SIZE
    const pieces = this.#pieces.overlapping(address, end)
    const isMine = this.#pieces.gaps(address, end).length === 0
    if (!isMine || pieces.some(piece => piece.kind === 'tombstone')) return -ERRNO.ENOMEM
    if (!this.#budget.take(2)) return -ERRNO.ENOMEM
    const result = mprotect(address, length, prot)
    if (result < 0) return result
    this.#setAccess(address, end, prot)
    return result
  }

  /**
   * The bytes themselves. RangeError unless all of them lie in one range that is mapped, and may be
   * read: an access to memory without would end the process. A view that was made before the access
   * went is not kept from that.
   */
  view(address: Address, length: number): Uint8Array {
    this.#assertOpen()
    checkLength(length)
    const piece = this.#pieces.at(address)
    if (piece?.kind !== 'live' || address + length > piece.end)
      throw new RangeError(`${length} bytes at ${hex(address)} are not mapped here`)
    if (this.#closed.overlapping(address, address + length).length > 0)
      throw new RangeError(`${length} bytes at ${hex(address)} have no access: PROT_NONE`)
    let { lent } = piece
    let buffer = lent?.buffer
    if (!lent || !buffer) {
      lent = new LentBuffer(piece.start, piece.end, gone => this.#forget(gone), this)
      buffer = lent.buffer!
      this.#pieces.replace(piece, [{ ...piece, lent, lenders: [...piece.lenders, lent] }])
    }
    return new Uint8Array(buffer, address - lent.start, length)
  }

  /** The address of bytes that {@link view} gave, or of any part of them; RangeError for others. */
  addressOf(view: Uint8Array): Address {
    const lent = lenderOf(view)
    if (!lent?.isOf(this)) throw new RangeError('these bytes are not of this memory')
    return lent.start + view.byteOffset
  }

  get usage(): MemoryUsage {
    let mapped = 0
    let tombstones = 0
    for (const { start, end, kind } of this.#pieces.all()) {
      if (kind === 'tombstone') tombstones += end - start
      else mapped += end - start
    }
    return { mapped, tombstones }
  }

  /** Unmaps everything, in ascending order, as the exit of the process would. Idempotent. */
  close(): void {
    this.#isClosed = true
    for (const piece of this.#pieces.all())
      if (piece.kind === 'live') this.#remove(piece, piece.start, piece.end, true)
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new ClosedError('memory')
  }

  #map(
    length: number,
    mappings: number,
    { prot, at }: PlaceOptions,
    mapper: Mapper,
  ): Address | Result {
    this.#assertOpen()
    checkLength(length)
    const size = pagesOf(length) * PAGE_SIZE
    if (at !== undefined && (at % PAGE_SIZE !== 0 || size === 0)) return -ERRNO.EINVAL
    if (!this.#budget.take(mappings + 2)) return -ERRNO.ENOMEM
    const start = at === undefined ? mapper(0, 0) : this.#mapAt(at, at + size, mapper)
    if (start < 0) return start
    if (at === undefined)
      this.#pieces.insert({ start, end: start + size, kind: 'live', lenders: NO_LENDERS })
    this.#setAccess(start, start + size, prot)
    return start
  }

  /** As MAP_FIXED, which would also replace what is not ours: those gaps are taken gently first. */
  #mapAt(start: Address, end: Address, mapper: Mapper): Address | Result {
    const gaps = this.#pieces.gaps(start, end)
    const taken = takeGaps(gaps)
    if (taken < 0) return taken
    const result = mapper(start, MAP_FIXED)
    const pieces = this.#pieces.overlapping(start, end)
    if (result < 0) {
      // Linux may have removed what was there before the driver refused (6.12.117 in dom0 has).
      const isKept = isMapped(start, end - start)
      for (const piece of isKept ? [] : pieces)
        this.#remove(piece, Math.max(piece.start, start), Math.min(piece.end, end), true)
      giveBack(gaps)
      return result
    }
    const lenders = new Set(pieces.flatMap(reachable))
    for (const piece of pieces) this.#replace(piece, remains(piece, start, end))
    this.#pieces.insert(part({ start, end, kind: 'live', lenders: [...lenders] }, start, end))
    return result
  }

  #setAccess(start: Address, end: Address, prot: number): void {
    this.#closed.cut(start, end)
    if (!isReadable(prot)) this.#closed.insert({ start, end })
  }

  /**
   * Unmaps a part of a piece, or puts a tombstone there if someone may still look. If it is forced,
   * what had a tombstone gets one anew, since the memory of that may be gone.
   */
  #remove(piece: Piece, start: Address, end: Address, isForced = false): Result {
    if (piece.kind === 'tombstone' && !isForced) return 0
    // A buffer of what lay here before may reach another part of the piece and not this one.
    if (piece.lenders.length === 0 || reachable(part(piece, start, end)).length === 0) {
      this.#budget.note(1)
      const result = munmap(start, end - start)
      if (result < 0) return result
      this.#replace(piece, remains(piece, start, end))
      this.#closed.cut(start, end)
      return 0
    }
    if (!this.#budget.takeToUnmap(2) && !isForced) return -ERRNO.ENOMEM
    const flags = ANONYMOUS | MAP_NORESERVE | MAP_FIXED
    const result = mmap(start, end - start, READ_WRITE, flags, -1, 0)
    if (result < 0) return result
    this.#replace(piece, split(piece, start, end, 'tombstone'))
    this.#closed.cut(start, end)
    return 0
  }

  /** A buffer was collected: tombstones that only it could reach are given back. */
  #forget(gone: LentBuffer): void {
    for (const piece of this.#pieces.overlapping(gone.start, gone.end)) {
      if (piece.lenders.includes(gone)) this.#replace(piece, [without(piece, gone)])
    }
  }

  /** Puts what is left of a piece in its place, without tombstones that no buffer reaches. */
  #replace(piece: Piece, left: readonly Piece[]): void {
    const isOver = ({ kind, lenders }: Piece) => kind === 'tombstone' && lenders.length === 0
    this.#pieces.replace(
      piece,
      left.filter(rest => !isOver(rest)),
    )
    for (const { start, end } of left.filter(isOver)) {
      this.#budget.note(1)
      munmap(start, end - start)
    }
  }
}

/** Addresses without access or memory. */
function hold(at: Address, length: number, fixed: number): Address | Result {
  return mmap(at, length, PROT_NONE, ANONYMOUS | MAP_NORESERVE | fixed, -1, 0)
}

/** Holds each gap; RangeError, and none held, when something of the process lies in one. */
function takeGaps(gaps: readonly Interval[]): Result {
  for (const [i, { start, end }] of gaps.entries()) {
    const result = hold(start, end - start, MAP_FIXED_NOREPLACE)
    if (result === start) continue
    giveBack(gaps.slice(0, i))
    // Before Linux 4.17 the flag is not known and the address a mere hint.
    if (result >= 0) munmap(result, end - start)
    if (result < 0 && result !== -ERRNO.EEXIST) return result
    throw new RangeError(`${end - start} bytes at ${hex(start)} are in use by something else`)
  }
  return 0
}

function giveBack(gaps: readonly Interval[]): void {
  for (const { start, end } of gaps) munmap(start, end - start)
}

function checkLength(length: number): void {
  if (!Number.isSafeInteger(length) || length < 0)
    throw new RangeError(`${length} is not a length in bytes`)
}

function hex(address: Address): string {
  return `0x${address.toString(16)}`
}
