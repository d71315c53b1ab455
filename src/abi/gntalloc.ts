import { readU64, viewOf, writeU64 } from './bytes.ts'
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
  const view = viewOf(bytes)
  view.setUint16(0, domid, true)
  view.setUint16(2, flags, true)
  view.setUint32(4, count, true)
  return bytes
}

/** The in-fields, from the 24 bytes that the driver copies first. */
export function decodeAllocGref(bytes: Uint8Array): AllocGref {
  const view = viewOf(bytes)
  return {
    domid: view.getUint16(0, true),
    flags: view.getUint16(2, true),
    count: view.getUint32(4, true),
  }
}

export function writeAllocGrefIndex(bytes: Uint8Array, index: number): void {
  writeU64(viewOf(bytes), 8, index)
}

/** The out-fields: what a caller reads after success. */
export function decodeAllocGrefReply(
  bytes: Uint8Array,
  count: number,
): { index: number; refs: number[] } {
  const view = viewOf(bytes)
  const refs = Array.from({ length: count }, (_, i) =>
    view.getUint32(ALLOC_GREF_REFS + 4 * i, true),
  )
  return { index: readU64(view, 8), refs }
}

/** u32 refs, as the driver copies them out behind the fixed part. */
export function encodeRefs(refs: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * refs.length)
  const view = viewOf(bytes)
  refs.forEach((ref, i) => {
    view.setUint32(4 * i, ref, true)
  })
  return bytes
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
  const view = viewOf(bytes)
  writeU64(view, 0, index)
  view.setUint32(8, count, true)
  return bytes
}

export function decodeDeallocGref(bytes: Uint8Array): DeallocGref {
  const view = viewOf(bytes)
  return { index: readU64(view, 0), count: view.getUint32(8, true) }
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
  const view = viewOf(bytes)
  writeU64(view, 0, index)
  view.setUint32(8, action, true)
  view.setUint32(12, port, true)
  return bytes
}

export function decodeUnmapNotify(bytes: Uint8Array): UnmapNotify {
  const view = viewOf(bytes)
  return {
    index: readU64(view, 0),
    action: view.getUint32(8, true),
    port: view.getUint32(12, true),
  }
}
