import {
  ENTRIES_PER_FRAME,
  GTF_PERMIT_ACCESS,
  GTF_READING,
  GTF_READONLY,
  GTF_TYPE_MASK,
  GTF_WRITING,
  PIN_LIMIT,
} from '../abi/grant-table.ts'
import type { HypervisorLimits } from './limits.ts'
import type { Frame, FrameRun } from './page-store.ts'

/** References of grants: indexes into the grant table of the domain that grants. */
export type Refs = Uint32Array

/** Pages `first` up to, and without, `end` of a mapping, all of them granted by one domain. */
export interface MapRun {
  readonly domid: number
  /** What GNTDEV_MAP_GRANT_REF took: domid and ref for each page. */
  readonly elements: Uint32Array
  readonly first: number
  readonly end: number
  readonly writable: boolean
  /** How often each page is mapped. */
  readonly times: number
  /** For each page so many handles, all of one grant, and its frame; -1 for none of these. */
  readonly pages: Int32Array
}

/** Fields of an active word. */
const READ_PIN = 1
const WRITE_PIN = 1 << 8
const PINS = 0xffff
const WRITE_PINS = 0xff00

/**
 * The grant table of one domain, version 1: what the guest wrote into the shared entries, and what
 * Xen keeps beside them in its active entries.
 *
 *      0        16       32                 0          8           16       32
 *     +--------+--------+----------------+ +----------+-----------+--------+
 *     | flags  | domid  |     frame      | | read pins| write pins| pinner |
 *     +--------+--------+----------------+ +----------+-----------+--------+
 *     └── shared with the guest ─────────┘ └── Xen's own, common/grant_table.c
 *
 * Flat arrays of words, since a million entries must cost what one costs.
 */
export class GrantTable {
  readonly #limits: HypervisorLimits
  #frames = 1
  /** Two words an entry. */
  #shared = new Uint32Array(2 * ENTRIES_PER_FRAME)
  #active = new Uint32Array(ENTRIES_PER_FRAME)
  #frameRoom = new Int32Array(1)

  constructor(limits: HypervisorLimits) {
    this.#limits = limits
  }

  /** Entries: every valid ref is below this. */
  get size(): number {
    return this.#frames * ENTRIES_PER_FRAME
  }

  /** Adds a frame of entries; false at the domain's limit. */
  grow(): boolean {
    if (this.#frames >= this.#limits.maxGrantFrames) return false
    this.#frames++
    if (this.size > this.#active.length) this.#reserve(2 * this.#active.length)
    return true
  }

  /** The guest's part: each entry lets `domid` use the page at the same place of the runs. */
  grant(refs: Refs, domid: number, frames: readonly FrameRun[], readonly: boolean): void {
    const shared = this.#shared
    const word = GTF_PERMIT_ACCESS | (readonly ? GTF_READONLY : 0) | (domid << 16)
    let i = 0
    for (const { first, count } of frames) {
      const end = Math.min(i + count, refs.length)
      for (let frame = first; i < end; i++, frame++) {
        const at = 2 * (refs[i] as number)
        shared[at] = word
        shared[at + 1] = frame
      }
    }
  }

  /**
   * The guest's part: revokes the entry. False while it is in use: version 1 then leaves it as it
   * is, that is open (gnttab_end_foreign_access_ref_v1; case 59).
   */
  end(ref: number): boolean {
    const word = this.#word(ref)
    if ((word & (GTF_READING | GTF_WRITING)) !== 0) return false
    this.#shared[2 * ref] = word & ~0xffff
    return true
  }

  /** {@link end} of all refs up to the first that is in use: how many. */
  endRun(refs: Refs): number {
    const shared = this.#shared
    for (let i = 0; i < refs.length; i++) {
      const at = 2 * (refs[i] as number)
      const word = shared[at] as number
      if ((word & (GTF_READING | GTF_WRITING)) !== 0) return i
      shared[at] = word & ~0xffff
    }
    return refs.length
  }

  /** The frame of each, good until the next call. */
  readFrames(refs: Refs): Int32Array {
    if (refs.length > this.#frameRoom.length) this.#frameRoom = new Int32Array(refs.length)
    const [shared, frames] = [this.#shared, this.#frameRoom]
    for (let i = 0; i < refs.length; i++) {
      frames[i] = shared[2 * (refs[i] as number) + 1] as Frame
    }
    return frames
  }

  isGranted(ref: number): boolean {
    return (this.#word(ref) & GTF_TYPE_MASK) === GTF_PERMIT_ACCESS
  }

  isInUse(ref: number): boolean {
    return (this.#word(ref) & (GTF_READING | GTF_WRITING)) !== 0
  }

  flags(ref: number): number {
    return this.#word(ref) & 0xffff
  }

  grantee(ref: number): number {
    return this.#word(ref) >>> 16
  }

  frame(ref: number): Frame {
    return this.#shared[2 * ref + 1] ?? 0
  }

  pins(ref: number): number {
    const active = this.#active[ref] ?? 0
    return (active & 0xff) + ((active & WRITE_PINS) >>> 8)
  }

  /**
   * Whether `mapper` may take so many more pins (map_grant_ref and _set_status_v1). While the entry
   * is pinned, a pin that needs no new right is not checked against the entry again: what was
   * revoked stays mappable for as long as it is mapped.
   */
  admits(ref: number, mapper: number, writable: boolean, times = 1): boolean {
    const active = this.#active[ref] ?? 0
    if ((active & PINS) !== 0) {
      if (active >>> 16 !== mapper) return false
      const count = writable ? (active & WRITE_PINS) >>> 8 : active & 0xff
      if (count > PIN_LIMIT - times) return false
      if (!writable || (active & WRITE_PINS) !== 0) return true
    }
    const word = this.#word(ref)
    if ((word & GTF_TYPE_MASK) !== GTF_PERMIT_ACCESS || word >>> 16 !== mapper) return false
    return !writable || (word & GTF_READONLY) === 0
  }

  /** Takes pins that {@link admits} allowed, and shows the guest that the entry is in use. */
  pin(ref: number, mapper: number, writable: boolean, times = 1): void {
    const pins = (this.#active[ref] ?? 0) & PINS
    this.#active[ref] = (pins + times * (writable ? WRITE_PIN : READ_PIN)) | (mapper << 16)
    this.#shared[2 * ref] = this.#word(ref) | GTF_READING | (writable ? GTF_WRITING : 0)
  }

  /**
   * Pins the pages of a run up to the first that is not admitted, and puts the frame of each in its
   * place: the page after the last.
   */
  pinRun({ elements, first, end, writable, times, pages }: MapRun, mapper: number): number {
    const { size } = this
    const shared = this.#shared
    const active = this.#active
    const forbidden = GTF_TYPE_MASK | (writable ? GTF_READONLY : 0)
    const allowed = (GTF_PERMIT_ACCESS | (mapper << 16)) >>> 0
    const used = GTF_READING | (writable ? GTF_WRITING : 0)
    const pinned = (times * (writable ? WRITE_PIN : READ_PIN)) | (mapper << 16)
    for (let page = first; page < end; page++) {
      const ref = elements[2 * page + 1] as number
      if (ref >= size) return page
      const word = shared[2 * ref] as number
      // Nearly always: granted, with nothing of it mapped.
      if (
        ((active[ref] as number) & PINS) === 0 &&
        (word & (0xffff0000 | forbidden)) >>> 0 === allowed
      ) {
        shared[2 * ref] = word | used
        active[ref] = pinned
      } else if (this.admits(ref, mapper, writable, times)) this.pin(ref, mapper, writable, times)
      else return page
      pages[page * (times + 1) + times] = shared[2 * ref + 1] as Frame
    }
    return end
  }

  /** Drops pins; the bits go with the last writer and the last pin. */
  unpin(ref: number, writable: boolean, times = 1): void {
    const active = (this.#active[ref] ?? 0) - times * (writable ? WRITE_PIN : READ_PIN)
    this.#active[ref] = active
    let word = this.#word(ref)
    if ((active & WRITE_PINS) === 0) word &= ~GTF_WRITING
    if ((active & PINS) === 0) word &= ~GTF_READING
    this.#shared[2 * ref] = word
  }

  /** Drops the pins of those pages of a run that have a handle. */
  unpinRun({ elements, first, end, writable, times, pages }: MapRun): void {
    const shared = this.#shared
    const active = this.#active
    const pins = times * (writable ? WRITE_PIN : READ_PIN)
    for (let page = first; page < end; page++) {
      if ((pages[page * (times + 1)] as number) < 0) continue
      const ref = elements[2 * page + 1] as number
      const left = (active[ref] as number) - pins
      if ((left & PINS) === 0) {
        active[ref] = left
        shared[2 * ref] = (shared[2 * ref] as number) & ~(GTF_READING | GTF_WRITING)
      } else this.unpin(ref, writable, times)
    }
  }

  /** The first word of a shared entry: flags and domid. */
  #word(ref: number): number {
    return this.#shared[2 * ref] ?? 0
  }

  #reserve(size: number): void {
    this.#shared = widened(this.#shared, new Uint32Array(2 * size))
    this.#active = widened(this.#active, new Uint32Array(size))
  }
}

/** Moves the content of a flat array into a longer one. */
export function widened<T extends Uint8Array | Uint16Array | Uint32Array | Int32Array>(
  from: T,
  into: T,
): T {
  into.set(from)
  return into
}
