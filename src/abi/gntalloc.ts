import {
  bytesIn,
  readU16,
  readU32,
  readU64,
  wordsIn,
  writeU16,
  writeU32,
  writeU64,
} from './bytes.ts'
import { ioctlNumber } from './ioctl.ts'

/**
 * /dev/xen/gntalloc: grants pages of this domain to another.
 * Source: include/uapi/xen/gntalloc.h (Linux 6.12.117), little endian.
 */
export const GNTALLOC_ALLOC_GREF: number = ioctlNumber('G', 5, 24)
export const GNTALLOC_DEALLOC_GREF: number = ioctlNumber('G', 6, 16)
export const GNTALLOC_SET_UNMAP_NOTIFY: number = ioctlNumber('G', 7, 16)

/** The peer may write. Every other bit of the flags is ignored. */
export const GNTALLOC_FLAG_WRITABLE = 1

/** Actions of SET_UNMAP_NOTIFY, on gntalloc and gntdev alike. */
export const UNMAP_NOTIFY_CLEAR_BYTE = 1
export const UNMAP_NOTIFY_SEND_EVENT = 2

/** The members end at 20, but sizeof is 24: the kernel copies 24 bytes in and back. */
export const ALLOC_GREF_SIZE = 24
export const ALLOC_GREF_REFS = 16
export const DEALLOC_GREF_SIZE = 16
export const UNMAP_NOTIFY_SIZE = 16

/** Bytes that ALLOC_GREF touches for `count` pages. */
export function allocGrefSize(count: number): number {
  return Math.max(ALLOC_GREF_SIZE, ALLOC_GREF_REFS + 4 * count)
}

/**
 * ALLOC_GREF:
 *
 *      0        2        4            8                    16        20
 *     +--------+--------+------------+--------------------+---------+--- …
 *     | domid  | flags  |   count    |  index (out, u64)  | ref[0]  | ref[1] …
 *     +--------+--------+------------+--------------------+---------+--- …
 *
 * `index` is the byte offset for mmap; the refs come back in place.
 */
export interface AllocGref {
  domid: number
  flags: number
  count: number
}

export function encodeAllocGref({ domid, flags, count }: AllocGref): Uint8Array {
  const bytes = new Uint8Array(allocGrefSize(count))
  writeU16(bytes, 0, domid)
  writeU16(bytes, 2, flags)
  writeU32(bytes, 4, count)
  return bytes
}

/** The in-fields, from the 24 bytes that the driver copies first. */
export function decodeAllocGref(bytes: Uint8Array): AllocGref {
  return {
    domid: readU16(bytes, 0),
    flags: readU16(bytes, 2),
    count: readU32(bytes, 4),
  }
}

export function writeAllocGrefIndex(bytes: Uint8Array, index: number): void {
  writeU64(bytes, 8, index)
}

/** The out-fields: what a caller reads after success. */
export function decodeAllocGrefReply(
  bytes: Uint8Array,
  count: number,
): { index: number; refs: number[] } {
  const words = wordsIn(bytes, ALLOC_GREF_REFS, count)
  const refs = new Array<number>(count)
  for (let i = 0; i < count; i++) refs[i] = words[i] as number
  return { index: readU64(bytes, 8), refs }
}

/** u32 refs, as the driver copies them out behind the fixed part; the memory may be theirs. */
export function encodeRefs(refs: Uint32Array): Uint8Array {
  return bytesIn(refs)
}

/**
 * DEALLOC_GREF:
 *
 *      0                    8            12        16
 *     +--------------------+------------+---------+
 *     |    index (u64)     |   count    |   pad   |
 *     +--------------------+------------+---------+
 */
export interface DeallocGref {
  index: number
  count: number
}

export function encodeDeallocGref({ index, count }: DeallocGref): Uint8Array {
  const bytes = new Uint8Array(DEALLOC_GREF_SIZE)
  writeU64(bytes, 0, index)
  writeU32(bytes, 8, count)
  return bytes
}

export function decodeDeallocGref(bytes: Uint8Array): DeallocGref {
  return { index: readU64(bytes, 0), count: readU32(bytes, 8) }
}

/**
 * SET_UNMAP_NOTIFY, the same on gntalloc and gntdev:
 *
 *      0                    8            12           16
 *     +--------------------+------------+------------+
 *     |    index (u64)     |   action   |    port    |
 *     +--------------------+------------+------------+
 *
 * `index` is a byte address inside the device file: its low 12 bits say which byte to clear.
 */
export interface UnmapNotify {
  index: number
  action: number
  port: number
}

export function encodeUnmapNotify({ index, action, port }: UnmapNotify): Uint8Array {
  const bytes = new Uint8Array(UNMAP_NOTIFY_SIZE)
  writeU64(bytes, 0, index)
  writeU32(bytes, 8, action)
  writeU32(bytes, 12, port)
  return bytes
}

export function decodeUnmapNotify(bytes: Uint8Array): UnmapNotify {
  return {
    index: readU64(bytes, 0),
    action: readU32(bytes, 8),
    port: readU32(bytes, 12),
  }
}
