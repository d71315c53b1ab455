/** mmap protection and flags. Source: include/uapi/asm-generic/mman-common.h, x86-64 and arm64. */
export const PROT_NONE = 0
export const PROT_READ = 1
export const PROT_WRITE = 2
export const PROT_EXEC = 4

export const MAP_SHARED = 0x01
export const MAP_PRIVATE = 0x02
/** The bits that say which of the two. */
export const MAP_TYPE = 0x0f
export const MAP_FIXED = 0x10
export const MAP_ANONYMOUS = 0x20
export const MAP_POPULATE = 0x8000
export const MAP_FIXED_NOREPLACE = 0x100000

export const MREMAP_MAYMOVE = 1
export const MREMAP_FIXED = 2

export const MADV_DONTNEED = 4
export const MADV_DONTFORK = 10
export const MADV_DOFORK = 11

/** PROT_WRITE alone is readable on x86; PROT_EXEC alone is not, where there are protection keys. */
export function isReadable(prot: number): boolean {
  return (prot & (PROT_READ | PROT_WRITE)) !== 0
}
