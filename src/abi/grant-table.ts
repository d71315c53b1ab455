/**
 * Grant tables as the hypervisor keeps them. Source: Xen public/grant_table.h.
 *
 * A version 1 entry, 8 bytes, 512 in a frame:
 *
 *      0        2        4                8
 *     +--------+--------+----------------+
 *     | flags  | domid  |     frame      |
 *     +--------+--------+----------------+
 */
export const ENTRIES_PER_FRAME = 512
/** Handles in one frame of the maptrack table. */
export const HANDLES_PER_FRAME = 256
/** Refs 0..7 belong to tools (0 console, 1 xenstore) and are never handed out. */
export const RESERVED_REFS = 8
/** Defaults of Xen's command line: gnttab_max_frames and gnttab_max_maptrack_frames. */
export const MAX_GRANT_FRAMES = 64
export const MAX_MAPTRACK_FRAMES = 1024

/** Flags of an entry: type in bits 0-1, then what the guest sets, then what Xen sets. */
export const GTF_INVALID = 0
export const GTF_PERMIT_ACCESS = 1
export const GTF_TYPE_MASK = 3
export const GTF_READONLY = 4
/** Set by Xen while the page is mapped. */
export const GTF_READING = 8
/** Set by Xen while the page is mapped writable. */
export const GTF_WRITING = 16

/** Flags of a map operation. */
export const GNTMAP_DEVICE_MAP = 1
export const GNTMAP_HOST_MAP = 2
export const GNTMAP_READONLY = 4
export const GNTMAP_APPLICATION_MAP = 8
export const GNTMAP_CONTAINS_PTE = 16

/** Four 8-bit counters a grant; a map is refused once the top bit of its counter is set. */
export const PIN_LIMIT = 128

/** Status codes of grant operations: 0 or negative. */
export const GNTST = {
  okay: 0,
  general_error: -1,
  bad_domain: -2,
  bad_gntref: -3,
  bad_handle: -4,
  bad_virt_addr: -5,
  bad_dev_addr: -6,
  no_device_space: -7,
  permission_denied: -8,
  bad_page: -9,
  bad_copy_arg: -10,
  address_too_big: -11,
  eagain: -12,
  no_space: -13,
} as const

/** A status by name: `'GNTST_okay'`, `'GNTST_bad_gntref'` … */
export type GntstName = `GNTST_${keyof typeof GNTST}`

/** `'GNTST_bad_gntref'` for -3. */
export function gntstName(status: number): GntstName {
  for (const [name, value] of Object.entries(GNTST)) {
    if (value === status) return `GNTST_${name as keyof typeof GNTST}`
  }
  return 'GNTST_general_error'
}
