import {
  bytesIn,
  readU16,
  readU32,
  readU64,
  viewOf,
  wordsIn,
  writeU16,
  writeU32,
  writeU64,
} from './bytes.ts'
import { ioctlNumber } from './ioctl.ts'

/**
 * /dev/xen/gntdev: maps pages that other domains granted, and copies through grants.
 * Source: include/uapi/xen/gntdev.h (Linux 6.12.117), little endian.
 */
export const GNTDEV_MAP_GRANT_REF: number = ioctlNumber('G', 0, 24)
export const GNTDEV_UNMAP_GRANT_REF: number = ioctlNumber('G', 1, 16)
export const GNTDEV_GET_OFFSET_FOR_VADDR: number = ioctlNumber('G', 2, 24)
/** In the header only: the driver lost it in 2.6.39 and answers ENOTTY. */
export const GNTDEV_SET_MAX_GRANTS: number = ioctlNumber('G', 3, 4)
/** The same number as gntalloc's. */
export const GNTDEV_SET_UNMAP_NOTIFY: number = ioctlNumber('G', 7, 16)
export const GNTDEV_GRANT_COPY: number = ioctlNumber('G', 8, 16)
export const GNTDEV_DMABUF_EXP_FROM_REFS: number = ioctlNumber('G', 9, 20)
export const GNTDEV_DMABUF_EXP_WAIT_RELEASED: number = ioctlNumber('G', 10, 8)
export const GNTDEV_DMABUF_IMP_TO_REFS: number = ioctlNumber('G', 11, 20)
export const GNTDEV_DMABUF_IMP_RELEASE: number = ioctlNumber('G', 12, 8)

export const MAP_GRANT_REF_SIZE = 24
export const MAP_GRANT_REF_ELEMENTS = 16
export const GRANT_REF_SIZE = 8
export const UNMAP_GRANT_REF_SIZE = 16
export const OFFSET_FOR_VADDR_SIZE = 24
export const GRANT_COPY_SIZE = 16
export const COPY_SEGMENT_SIZE = 24
export const COPY_SEGMENT_STATUS = 20

/** Flags of a copy segment: which side is a grant. Other bits are ignored. */
export const GRANT_COPY_SOURCE_GREF = 1
export const GRANT_COPY_DEST_GREF = 2

/** Hypervisor operations that the driver hands over at once. */
export const GRANT_COPY_BATCH = 16

/** Bytes that MAP_GRANT_REF touches for `count` grants. */
export function mapGrantRefSize(count: number): number {
  return Math.max(MAP_GRANT_REF_SIZE, MAP_GRANT_REF_ELEMENTS + GRANT_REF_SIZE * count)
}

/** What names a grant, and travels from granter to mapper by any road: plain JSON. */
export interface GrantName {
  /** Domain that granted. */
  domid: number
  /** Grant reference: index into its grant table. */
  ref: number
}

/**
 * MAP_GRANT_REF:
 *
 *      0         4         8                   16         20        24
 *     +---------+---------+-------------------+----------+---------+--- …
 *     |  count  |   pad   | index (out, u64)  | domid[0] | ref[0]  | domid[1] …
 *     +---------+---------+-------------------+----------+---------+--- …
 *
 * `domid` is 32 bits wide here and narrowed to 16 on its way to Xen (case 128).
 */
export function encodeMapGrantRef(grants: readonly GrantName[]): Uint8Array {
  const words = new Uint32Array(mapGrantRefSize(grants.length) / 4)
  words[0] = grants.length
  const first = MAP_GRANT_REF_ELEMENTS / 4
  for (let i = 0; i < grants.length; i++) {
    const { domid, ref } = grants[i] as GrantName
    words[first + 2 * i] = domid
    words[first + 2 * i + 1] = ref
  }
  return bytesIn(words)
}

/** `count` alone, from the fixed part. */
export function decodeMapGrantRefCount(bytes: Uint8Array): number {
  return readU32(bytes, 0)
}

/** The element array as one flat run, domid, ref, domid, ref …, to be read at once. */
export function decodeGrantRefs(bytes: Uint8Array): Uint32Array {
  return wordsIn(bytes, 0, bytes.length >>> 2)
}

export function writeMapGrantRefIndex(bytes: Uint8Array, index: number): void {
  writeU64(bytes, 8, index)
}

export function decodeMapGrantRefIndex(bytes: Uint8Array): number {
  return readU64(bytes, 8)
}

/**
 * UNMAP_GRANT_REF:
 *
 *      0                    8            12        16
 *     +--------------------+------------+---------+
 *     |    index (u64)     |   count    |   pad   |
 *     +--------------------+------------+---------+
 *
 * The layout of gntalloc's DEALLOC_GREF under another name. A count of 0 matches any (case 133).
 */
export {
  decodeDeallocGref as decodeUnmapGrantRef,
  encodeDeallocGref as encodeUnmapGrantRef,
} from './gntalloc.ts'

/**
 * GET_OFFSET_FOR_VADDR:
 *
 *      0                    8                    16           20        24
 *     +--------------------+--------------------+------------+---------+
 *     |     vaddr (in)     |    offset (out)    | count (out)|   pad   |
 *     +--------------------+--------------------+------------+---------+
 */
export function encodeOffsetForVaddr(vaddr: number): Uint8Array {
  const bytes = new Uint8Array(OFFSET_FOR_VADDR_SIZE)
  writeU64(bytes, 0, vaddr)
  return bytes
}

export function decodeVaddr(bytes: Uint8Array): number {
  return readU64(bytes, 0)
}

export function writeOffsetForVaddrReply(bytes: Uint8Array, offset: number, count: number): void {
  writeU64(bytes, 8, offset)
  writeU32(bytes, 16, count)
}

export function decodeOffsetForVaddrReply(bytes: Uint8Array): { offset: number; count: number } {
  return { offset: readU64(bytes, 8), count: readU32(bytes, 16) }
}

/**
 * GRANT_COPY names its segments by a pointer:
 *
 *      0            4         8                        16
 *     +------------+---------+------------------------+
 *     |   count    |   pad   | segments (user address)|
 *     +------------+---------+------------------------+
 */
export function encodeGrantCopy(count: number, segments: number): Uint8Array {
  const bytes = new Uint8Array(GRANT_COPY_SIZE)
  writeU32(bytes, 0, count)
  writeU64(bytes, 8, segments)
  return bytes
}

export function decodeGrantCopy(bytes: Uint8Array): { count: number; segments: number } {
  return { count: readU32(bytes, 0), segments: readU64(bytes, 8) }
}

/** One side of a copy: memory of the caller, or a place in a granted page. */
export type CopyEndpoint =
  | { readonly address: number }
  | { readonly domid: number; readonly ref: number; readonly offset: number }

/**
 * A copy segment, 24 bytes:
 *
 *      0                    8                    16      18      20       22    24
 *     +--------------------+--------------------+-------+-------+--------+-----+
 *     |       source       |        dest        |  len  | flags | status | pad |
 *     +--------------------+--------------------+-------+-------+--------+-----+
 *
 * and a side of it, by the flag that says whether it is a grant:
 *
 *      local    | virtual address (u64)               |
 *      foreign  | ref (u32) | offset (u16) | domid (u16) |
 */
export interface CopySegment {
  source: CopyEndpoint
  dest: CopyEndpoint
  /** Bytes. */
  len: number
  flags: number
}

/** The flags that follow from which sides are grants. */
export function copyFlags(source: CopyEndpoint, dest: CopyEndpoint): number {
  return ('ref' in source ? GRANT_COPY_SOURCE_GREF : 0) | ('ref' in dest ? GRANT_COPY_DEST_GREF : 0)
}

export function encodeCopySegments(segments: readonly CopySegment[]): Uint8Array {
  const bytes = new Uint8Array(COPY_SEGMENT_SIZE * segments.length)
  segments.forEach(({ source, dest, len, flags }, i) => {
    const at = COPY_SEGMENT_SIZE * i
    writeEndpoint(bytes, at, source)
    writeEndpoint(bytes, at + 8, dest)
    writeU16(bytes, at + 16, len)
    writeU16(bytes, at + 18, flags)
  })
  return bytes
}

/** One segment of 24 bytes; its flags alone say what its sides are. */
export function decodeCopySegment(bytes: Uint8Array): CopySegment {
  const flags = readU16(bytes, 18)
  return {
    source: readEndpoint(bytes, 0, (flags & GRANT_COPY_SOURCE_GREF) !== 0),
    dest: readEndpoint(bytes, 8, (flags & GRANT_COPY_DEST_GREF) !== 0),
    len: readU16(bytes, 16),
    flags,
  }
}

/** The status (0 or a negative GNTST) of segment `i`. */
export function decodeCopyStatus(segments: Uint8Array, i: number): number {
  return viewOf(segments).getInt16(COPY_SEGMENT_SIZE * i + COPY_SEGMENT_STATUS, true)
}

/** A status as the two bytes that the driver stores. */
export function encodeCopyStatus(status: number): Uint8Array {
  const bytes = new Uint8Array(2)
  writeU16(bytes, 0, status)
  return bytes
}

function writeEndpoint(bytes: Uint8Array, at: number, side: CopyEndpoint): void {
  if ('address' in side) {
    writeU64(bytes, at, side.address)
    return
  }
  writeU32(bytes, at, side.ref)
  writeU16(bytes, at + 4, side.offset)
  writeU16(bytes, at + 6, side.domid)
}

function readEndpoint(bytes: Uint8Array, at: number, isGrant: boolean): CopyEndpoint {
  if (!isGrant) return { address: readU64(bytes, at) }
  return {
    ref: readU32(bytes, at),
    offset: readU16(bytes, at + 4),
    domid: readU16(bytes, at + 6),
  }
}
