/**
 * The seam.
 *
 * Everything above this file talks to a {@link Platform}: something that opens the device files
 * `/dev/xen/gntalloc`, `/dev/xen/gntdev` and `/dev/xen/evtchn`, and that owns the memory of the
 * process. Everything below it is one of three:
 *
 *   linux   the real devices of a Xen domain. Small and without cleverness.
 *   host    a simulated machine made of processes: the same devices, kept by a host process that
 *           decodes the very same ioctl bytes, with real shared memory between plain processes.
 *   sim     a world inside one process, stepped by hand, for tests.
 *
 * The seam is the device file and not some nicer abstraction, since only so every encoder, every
 * error path and every protocol above it runs, byte for byte, in a test on a laptop; and what
 * remains below it on real Xen is too small to hide a mistake. A platform that would need to weaken
 * a sentence of this comment is not a platform.
 *
 *
 * Answers
 * -------
 * Every call of {@link Device} and {@link Memory} answers as a system call does: 0 or more is
 * success, a negative number is `-errno`. A refusal is that errno and nothing else; it is not
 * thrown, since a refusal is an expected value here and the typed calls above turn it into a
 * XenError. What a person wants to know besides (which limit, how much of it is used, what Xen's
 * own status was) comes from {@link Device.explain}, right after the refusal, and is never compared
 * by the conformance suite.
 *
 * Exceptions are for bugs of the caller and for those only: RangeError for a buffer that is too
 * short or an address that this platform did not give out, TypeError for a wrong type, ClosedError
 * for a device that was closed. A platform whose machine has died answers -EHOSTDOWN, at once, for
 * ever.
 *
 *
 * ioctl
 * -----
 * `ioctl(number, bytes)` works on a private copy of `bytes`. It first computes from that copy how
 * much of it the driver will touch (`argumentSize` in abi/devices.ts) and throws RangeError when
 * the buffer is shorter: no call from TypeScript lets a kernel write past a buffer, and no peer
 * that changes the bytes meanwhile is believed twice. Whatever the driver stored is copied back
 * into `bytes` before the call returns, on success and on refusal alike.
 *
 * `ioctl(number, address)` hands over a plain user address, as C does: for ported programs, and
 * for the conformance cases about unmapped arguments, which answer -EFAULT. The struct lies in
 * memory of {@link Memory.alloc}; the check of its length is the caller's.
 *
 *
 * Memory
 * ------
 * An {@link Address} is a user address of this process as the devices see it: a plain number, since
 * user space ends at 2^47. On linux and host it is a real address; in a world it is a simulated
 * one, so that a run is the same each time. Only `view` turns it into bytes, and only for memory
 * that this platform gave out.
 *
 * Bytes outlive their mapping without harm. After `munmap` a view that somebody still holds reads
 * zeroes and reaches nobody: where a view could live, the platform puts an anonymous page over the
 * range instead of leaving a hole. The drivers cannot tell that from munmap (cases 236 to 239), and
 * the range is not given to another mapping before the last view is collected.
 *
 * A store through a view of memory that was mapped without PROT_WRITE ends the process with
 * SIGSEGV, as in any language. The typed API therefore never hands such a view out by default. So
 * does an access through a view from before `protect` took all access away; a new one is refused.
 *
 * Xen discards such a store without a signal in one case: an HVM domain mapped a grant without
 * PROT_WRITE and has added it since (cases 319, 322). The simulators then give a copy as the view.
 *
 * Memory that a peer can write is hostile input. Whoever takes a decision from it reads it once
 * into a local, checks the local, and uses the local.
 *
 *
 * Lifetimes
 * ---------
 * A device is an open file description: `dup` gives a second descriptor of the same one, and as in
 * the kernel it is released when its last descriptor *and* the last mapping made from it are gone.
 * Closing a device while its pages are mapped therefore releases nothing (cases 45, 63, 139).
 *
 * `Platform.close()` is what an exiting process does: mappings go first, in ascending address
 * order, then descriptors, in descending order of their numbers (cases 285 to 288). A process that
 * is killed is released in the very same way, by its kernel or by the simulated one.
 *
 *
 * Time
 * ----
 * Calls are synchronous: each has had its effect when it returns. The one thing to wait for is an
 * event, with {@link Device.ready}. A `read` on a descriptor that was opened without `nonblock`
 * blocks the thread, as it does in C; a world, which has no other thread that could end the wait,
 * throws an Error instead of never returning.
 */

import type { DeviceName } from './abi/devices.ts'
import type { ErrorFacts } from './base/errors.ts'

export type { DeviceName }

/** A user virtual address, below 2^47. */
export type Address = number

/** 0 or more on success, `-errno` on refusal. */
export type Result = number

/**
 * What a platform may lack, so that a conformance case is skipped by it. The list is closed; which
 * case may name which entry is written in the suite.
 */
export const CAPABILITIES = [
  'fork',
  'signal',
  'fault',
  'remap',
  'dmabuf',
  'pv',
  'hvm',
  'two-domains',
  'destructive',
] as const
/** One entry of {@link CAPABILITIES}. */
export type Capability = (typeof CAPABILITIES)[number]

/** How a device file is opened: O_RDONLY, O_WRONLY or O_RDWR. */
export type Access = 'read' | 'write' | 'readwrite'

/** The flags of open(2) that matter here. */
export interface OpenOptions {
  readonly access: Access
  /** O_NONBLOCK: `read` on an empty evtchn answers -EAGAIN instead of waiting. */
  readonly nonblock: boolean
}

/** The arguments of mmap(2) on a device. */
export interface MmapOptions {
  /** Bytes into the device file: the index that ALLOC_GREF or MAP_GRANT_REF answered. */
  readonly offset: number
  /** Bytes; rounded up to pages as mmap(2) does. */
  readonly length: number
  /** PROT_* of abi/mman.ts. */
  readonly prot: number
  /** MAP_SHARED or MAP_PRIVATE, and MAP_POPULATE. */
  readonly flags: number
  /** Place it exactly here, over whatever is there, as MAP_FIXED does. */
  readonly at?: Address
}

/** What poll(2) would report now. */
export interface Readiness {
  readonly in: boolean
  readonly out: boolean
  readonly err: boolean
}

/** One descriptor of an opened `/dev/xen/*`, real or simulated. */
export interface Device {
  readonly name: DeviceName
  /** The descriptor's number, lowest free first: it decides the order of release at death. */
  readonly fd: number

  /** See above. Answers what the driver returns: mostly 0, for BIND_* the new port. */
  ioctl(number: number, argument?: Uint8Array | Address): Result
  /** Answers the address of the new mapping. */
  mmap(options: MmapOptions): Address | Result
  /** Fills `into` from its start; answers bytes. gntalloc and gntdev: -EINVAL. */
  read(into: Uint8Array): Result
  write(from: Uint8Array): Result
  poll(): Readiness
  /**
   * Resolves once `poll()` would report `in` or `err`; at once if it does now. Rejects with the
   * signal's reason, with ClosedError when the device is closed, and with a XenError EHOSTDOWN when
   * the machine died. A pending wait keeps the process alive.
   */
  ready(signal?: AbortSignal): Promise<void>
  /** A pending `ready` keeps the process alive, as it does from the start. */
  ref(): void
  /** A pending `ready` no longer keeps the process alive. */
  unref(): void
  /** A second descriptor of the same open file description, or -EMFILE. */
  dup(): Device | Result
  /** Idempotent. */
  close(): void
  /** What is known about the last refusal of this device, for a person. */
  explain?(): ErrorFacts | undefined
}

/** The memory of the process. Addresses are page aligned where mmap(2) wants them so. */
export interface Memory {
  /** Anonymous zeroed memory, readable and writable; `at` places it over whatever is there. */
  alloc(length: number, at?: Address): Address | Result
  /** Removes whole pages, of any mappings, partly or wholly. Idempotent as munmap(2) is. */
  munmap(address: Address, length: number): Result
  /** mprotect(2). */
  protect(address: Address, length: number, prot: number): Result
  /**
   * The bytes at an address that this memory gave out, by `alloc` or by a device's `mmap`; they are
   * the memory, not a copy. RangeError when any byte of it lies outside of one such mapping, or
   * has no access (PROT_NONE).
   */
  view(address: Address, length: number): Uint8Array
  /** The address of a view, or of any part of it. RangeError for bytes that are not ours. */
  addressOf(view: Uint8Array): Address
}

/** Limits that a person may set: module parameters on real Xen. Pages. */
export type LimitName = 'gntalloc.limit' | 'gntdev.limit'

/** A process of a domain: its device files and its memory. See the head of this file. */
export interface Platform {
  readonly name: 'linux' | 'host' | 'sim'
  /** This process's domain. */
  readonly domid: number
  /** How the domain's kernel maps grants: PV by page table entries, HVM by guest frames. */
  readonly kind: 'pv' | 'hvm'
  /** What puppets of this platform can do, of the closed list. */
  readonly capabilities: ReadonlySet<Capability>
  readonly memory: Memory
  open(device: DeviceName, options: OpenOptions): Device | Result
  /** What is known about the last refusal of `open`, for a person. */
  explain?(): ErrorFacts | undefined
  /** Releases everything, as the exit of the process would. Idempotent. */
  close(): void
}

/** True when `open` or `dup` gave a device and not a refusal. */
export function isDevice(answer: Device | Result): answer is Device {
  return typeof answer !== 'number'
}
