import type { ErrorFacts } from '../base/errors.ts'

/** Number of a machine page in a {@link PageStore}: what a grant entry's frame names. */
export type Frame = number

/** In place of a frame: a page of a mapping that the kernel has taken out of it. */
export const NO_FRAME: Frame = -1

/** Pages in a row: `first`, `first + 1` and so on; or so many times {@link NO_FRAME}. */
export interface FrameRun {
  readonly first: Frame
  readonly count: number
}

/**
 * The memory of the simulated machine. The hypervisor and the kernels know pages by number only
 * and reach their bytes through this, so the same model runs over shared memory (host, world) and
 * over none (property tests and benchmarks).
 */
export interface PageStore {
  /**
   * `count` zeroed pages that domain `granter` shares with domain `grantee`, in as few runs as
   * there are; what is known about it when there is no more memory. Who will map them with which
   * right is said here since a host keeps pages of different readers apart (docs/security.md).
   */
  allocate(count: number, placement: PagePlacement): FrameRun[] | ErrorFacts
  /** So many pages in a row may be given to others; only called when nothing maps them. */
  free(first: Frame, count: number): void
  /** Zeroes one byte: CLEAR_BYTE of an unmap notification. */
  clearByte(frame: Frame, offset: number): void
  /** Bytes of a page, by copy. */
  read(frame: Frame, offset: number, length: number): Uint8Array
  write(frame: Frame, offset: number, bytes: Uint8Array): void
}

export interface PagePlacement {
  readonly granter: number
  readonly grantee: number
  readonly writable: boolean
  /** Identity of the process that allocates, compared by reference: chunks are never shared. */
  readonly process: object
}
