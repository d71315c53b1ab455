/** Bytes of a page on x86-64: grants, mappings and offsets count in these. */
export const PAGE_SIZE = 4096
/** log2 of the page size. */
export const PAGE_SHIFT = 12

/** Pages that `bytes` bytes touch when they start at a page boundary. */
export function pagesOf(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE)
}
