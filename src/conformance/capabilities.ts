import type { Capability } from '../platform.ts'

/**
 * Which case may be skipped by which capability, once and for all: a test holds the suite to it, so
 * that nothing is skipped because it is hard.
 */
export const CASES_BY_CAPABILITY: Readonly<Record<Capability, readonly number[]>> = {
  /** A child that inherits descriptors and mappings: Node has no fork. */
  fork: [44, 67, 84, 127, 248, 255, 273, 274, 275, 309],
  /** A signal that interrupts a read, and SIGIO. */
  signal: [222, 257],
  /** Surviving and observing SIGSEGV and SIGBUS. */
  fault: [111, 244, 300, 302, 303, 308],
  /** lseek, mremap, madvise, futex, mlock, process_vm_readv, epoll: calls that the seam lacks. */
  remap: [11, 43, 125, 245, 246, 247, 251, 256, 266, 267, 268, 269, 301, 304, 305],
  /** A kernel built with XEN_GNTDEV_DMABUF: the sheet has no case that was seen on one. */
  dmabuf: [],
  /** A domain that maps grants by guest frames. */
  hvm: [120, 126, 140, 158, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319, 322, 323],
  /** Another domain, where a grant to ourselves cannot show it. */
  'two-domains': [130, 320, 321],
  /** What the sheet forbids to automate: it corrupts, hangs or exhausts a real kernel. */
  destructive: [249, 306, 307, 324],
}
