import type { Capability } from '../platform.ts'

/**
 * Which case may be skipped by which capability, once and for all: a test holds the suite to it, so
 * that nothing is skipped because it is hard. A case may need several.
 */
export const CASES_BY_CAPABILITY: Readonly<Record<Capability, readonly number[]>> = {
  /** A child that inherits descriptors and mappings: no process of Node can make one. */
  fork: [44, 67, 84, 126, 127, 248, 255, 273, 274, 275, 309, 317],
  /** A signal that interrupts a read, and SIGIO and what its handler sees. */
  signal: [222, 257, 340, 341],
  /** Surviving and observing SIGSEGV and SIGBUS. */
  fault: [111, 244, 300, 302, 303, 308, 330],
  /** lseek, mremap, madvise, futex, mlock, process_vm_readv, epoll: calls that the seam lacks. */
  remap: [
    11, 43, 125, 245, 246, 247, 251, 256, 266, 267, 268, 269, 301, 304, 305, 313, 314, 315, 316,
  ],
  /** A kernel built with XEN_GNTDEV_DMABUF: the sheet has no case that was seen on one. */
  dmabuf: [],
  /** A domain that maps grants by page table entries. */
  pv: [
    127, 141, 159, 238, 240, 242, 274, 290, 300, 301, 302, 303, 304, 305, 307, 308, 309, 330, 341,
    609,
  ],
  /**
   * A domain that maps grants by guest frames. On real Xen the suite runs in PV domains; why, says
   * the decision on a PVH guest (docs/decisions).
   */
  hvm: [120, 126, 140, 158, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319, 322, 323, 340],
  /** Another domain, where a grant to ourselves cannot show it. */
  'two-domains': [130, 320, 321, 500, 501, 502, 503, 504, 505, 506, 507, 508, 601],
  /** What must not be tried on a real kernel, which it corrupts, hangs or exhausts. */
  destructive: [249, 306, 307, 324, 332],
}
