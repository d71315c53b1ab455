import { DOMID_SELF } from '../abi/domid.ts'
import {
  COPY_SEGMENT_SIZE,
  type CopyEndpoint,
  type CopySegment,
  copyFlags,
  decodeCopyStatus,
  encodeCopySegments,
  encodeGrantCopy,
  GNTDEV_GRANT_COPY,
} from '../abi/gntdev.ts'
import { type GntstName, gntstName } from '../abi/grant-table.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { described, integerBetween } from '../base/arguments.ts'
import { XenError } from '../base/errors.ts'
import { callDevice } from '../device-call.ts'
import type { Address, Device, Memory } from '../platform.ts'
import { REF_MAX } from './grant-name.ts'
import { COPY_SEGMENTS_MAX } from './limits.ts'

/** A side of a copy that lies in this process. */
export interface LocalBytes {
  readonly bytes: Uint8Array
}

/** A side of a copy in a granted page. */
export interface GrantedBytes {
  /** Domain that granted; `DOMID_SELF` for this one. */
  readonly domid: number
  readonly ref: number
  /** Bytes into the page. */
  readonly offset: number
}

/** One segment of a copy; at least one side of it is a grant. */
export interface GrantCopy {
  readonly from: LocalBytes | GrantedBytes
  readonly to: LocalBytes | GrantedBytes
  /** Bytes, at most to the end of a granted page. Left out: all of the local side. */
  readonly len?: number
}

/** How one segment ended: a value, not an error, as the others may have succeeded. */
export interface CopyStatus {
  /** 0, or a negative status of Xen. */
  readonly status: number
  /** `'GNTST_okay'`, `'GNTST_bad_gntref'` … */
  readonly name: GntstName
}

/** One local side that is no memory of the platform and is copied by way of some that is. */
interface Bounce {
  readonly bytes: Uint8Array
  readonly at: number
  readonly isTarget: boolean
}

/** GRANT_COPY: the hypervisor copies between pages without mapping them. */
export function grantCopy(
  device: Device,
  memory: Memory,
  copies: readonly GrantCopy[],
): CopyStatus[] {
  const checkedCopies = check(copies)
  if (checkedCopies.length === 0) return []
  const bounces: Bounce[] = []
  const plan = new ScratchPlan(memory, checkedCopies.length * COPY_SEGMENT_SIZE, bounces)
  const placed = checkedCopies.map(copy => ({
    from: plan.place(copy.from, copy.len, false),
    to: plan.place(copy.to, copy.len, true),
    len: copy.len,
  }))
  const scratch = memory.alloc(plan.size)
  if (scratch < 0) throw new XenError(scratch, 'mmap', { wanted: plan.size })
  try {
    const segments = placed.map(({ from, to, len }) => segmentOf(from(scratch), to(scratch), len))
    const view = memory.view(scratch, plan.size)
    view.set(encodeCopySegments(segments))
    for (const { bytes, at } of bounces) view.set(bytes, at)
    callDevice(device, GNTDEV_GRANT_COPY, encodeGrantCopy(segments.length, scratch))
    // A failed copy may have done a part: the target gets whatever the memory in between has.
    for (const { bytes, at, isTarget } of bounces) {
      if (isTarget) bytes.set(view.subarray(at, at + bytes.byteLength))
    }
    return segments.map((_, i) => statusOf(view, i))
  } finally {
    memory.munmap(scratch, plan.size)
  }
}

/** Lays out the memory of one call: the segments, then each bounced side. */
class ScratchPlan {
  size: number
  readonly #memory: Memory
  readonly #bounces: Bounce[]

  constructor(memory: Memory, segmentBytes: number, bounces: Bounce[]) {
    this.#memory = memory
    this.#bounces = bounces
    this.size = segmentBytes
  }

  place(
    side: LocalBytes | GrantedBytes,
    len: number,
    isTarget: boolean,
  ): (scratch: Address) => CopyEndpoint {
    if (!('bytes' in side)) return () => side
    const bytes = side.bytes.subarray(0, len)
    const address = addressIn(this.#memory, bytes)
    if (address !== undefined) return () => ({ address })
    const at = this.size
    this.size += len
    this.#bounces.push({ bytes, at, isTarget })
    return scratch => ({ address: scratch + at })
  }
}

/** The address of bytes that are memory of the platform, which needs no bouncing. */
function addressIn(memory: Memory, bytes: Uint8Array): Address | undefined {
  try {
    return memory.addressOf(bytes)
  } catch {
    return undefined
  }
}

function segmentOf(source: CopyEndpoint, dest: CopyEndpoint, len: number): CopySegment {
  return { source, dest, len, flags: copyFlags(source, dest) }
}

function statusOf(segments: Uint8Array, i: number): CopyStatus {
  const status = decodeCopyStatus(segments, i)
  return { status, name: gntstName(status) }
}

function check(copies: readonly GrantCopy[]): Required<GrantCopy>[] {
  if (!Array.isArray(copies)) {
    throw new TypeError(`copy takes an array of segments, got ${described(copies)}`)
  }
  if (copies.length > COPY_SEGMENTS_MAX) {
    throw new RangeError(`at most ${COPY_SEGMENTS_MAX} segments a copy, got ${copies.length}`)
  }
  return copies.map((copy: GrantCopy, i) => {
    const from = checkSide(copy.from, `segment ${i}: from`)
    const to = checkSide(copy.to, `segment ${i}: to`)
    if ('bytes' in from && 'bytes' in to) {
      throw new TypeError(`segment ${i}: one side must be a grant { domid, ref, offset }`)
    }
    const room = Math.min(roomOf(from), roomOf(to))
    return { from, to, len: integerBetween(`segment ${i}: len`, lengthOf(copy), 0, room) }
  })
}

function lengthOf({ from, to, len }: GrantCopy): number | undefined {
  if (len !== undefined) return len
  if ('bytes' in from) return from.bytes.byteLength
  return 'bytes' in to ? to.bytes.byteLength : undefined
}

function roomOf(side: LocalBytes | GrantedBytes): number {
  return 'bytes' in side ? side.bytes.byteLength : PAGE_SIZE - side.offset
}

function checkSide(side: unknown, at: string): LocalBytes | GrantedBytes {
  if (typeof side !== 'object' || side === null) {
    throw new TypeError(`${at} must be { bytes } or { domid, ref, offset }, got ${described(side)}`)
  }
  if ('bytes' in side) {
    if (side.bytes instanceof Uint8Array) return { bytes: side.bytes }
    throw new TypeError(`${at}.bytes must be a Uint8Array, got ${described(side.bytes)}`)
  }
  const { domid, ref, offset } = side as Partial<GrantedBytes>
  return {
    domid: integerBetween(`${at}.domid`, domid, 0, DOMID_SELF),
    ref: integerBetween(`${at}.ref`, ref, 0, REF_MAX),
    offset: integerBetween(`${at}.offset`, offset, 0, PAGE_SIZE),
  }
}
