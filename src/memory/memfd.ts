import { addSeals, close, ftruncate, memfd, type Result } from '../native/libc.ts'

export interface MemfdOptions {
  /** Shows in /proc/PID/maps, for people. */
  readonly name: string
  /** Bytes, a multiple of the page size. They read zero and take no memory until touched. */
  readonly length: number
  /** F_SEAL_* of native/libc.ts, set once the length is. */
  readonly seals?: number
}

/**
 * Memory without a name that can be passed to another process as a descriptor; close-on-exec.
 * Answers the descriptor or -errno, and leaves nothing behind in that case. Seal SHRINK at least
 * before a peer maps it: reading behind the end of a shrunken file is SIGBUS.
 */
export function createMemfd(options: MemfdOptions): Result {
  const fd = memfd(options.name)
  if (fd < 0) return fd
  const { length, seals = 0 } = options
  let result = ftruncate(fd, length)
  if (result === 0 && seals !== 0) result = addSeals(fd, seals)
  if (result < 0) close(fd)
  return result < 0 ? result : fd
}
