import type { DeviceName } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import type { ErrorFacts } from '../base/errors.ts'
import type { Access, Address, Readiness, Result } from '../platform.ts'
import type { Domain } from './domain.ts'
import type { Process } from './process.ts'
import type { UserMemory } from './user-memory.ts'
import type { PageBacking } from './vma.ts'

/** A mapping that a driver is asked for, after the checks that the kernel makes for every file. */
export interface MapRequest {
  /** Offset and length in pages. */
  readonly firstPage: number
  readonly count: number
  readonly isWritable: boolean
  readonly isShared: boolean
  /** In whose memory. */
  readonly process: Process
}

/**
 * An open file description of one of the devices: what descriptors and mappings refer to. It is
 * released when the last of both is gone.
 */
export abstract class OpenFile {
  abstract readonly device: DeviceName
  readonly domain: Domain
  /** Unlike any other file of the machine. */
  readonly id: number
  /** The process that opened it. */
  readonly opener: Process
  readonly access: Access
  readonly nonblock: boolean
  /** About the last refusal. */
  facts: ErrorFacts | undefined
  #references = 0

  constructor(opener: Process, id: number, options: { access: Access; nonblock: boolean }) {
    this.domain = opener.domain
    this.id = id
    this.opener = opener
    this.access = options.access
    this.nonblock = options.nonblock
  }

  get pid(): number {
    return this.opener.pid
  }

  abstract ioctl(number: number, argument: Address, memory: UserMemory, caller: Process): Result
  /** What stays when the last reference is gone: the driver's release. */
  abstract release(): void

  get canRead(): boolean {
    return this.access !== 'write'
  }

  get canWrite(): boolean {
    return this.access !== 'read'
  }

  /** Whether the driver has an mmap handler; without, -ENODEV (case 10). */
  get isMappable(): boolean {
    return true
  }

  /** Whether a private mapping may be made writable later. */
  get allowsPrivateWrite(): boolean {
    return true
  }

  mmap(_request: MapRequest): PageBacking | Result {
    return -ERRNO.ENODEV
  }

  /** No handler: -EINVAL (case 9). */
  read(_into: Uint8Array): Result {
    return -ERRNO.EINVAL
  }

  write(_from: Uint8Array): Result {
    return -ERRNO.EINVAL
  }

  /** A file without a handler is always ready (case 251). */
  poll(): Readiness {
    return { in: true, out: true, err: false }
  }

  /**
   * Calls `listener` whenever `poll` has something new to report, until the answer is called.
   * Nothing without a handler for it: epoll refuses such a file (case 251).
   */
  onWake(_listener: () => void): (() => void) | undefined {
    return undefined
  }

  hold(): void {
    this.#references++
  }

  /** True when that was the last reference. */
  drop(): boolean {
    this.#references--
    return this.#references === 0
  }

  /** Remembers why, for a person, and answers `-errno`. */
  protected refuse(errno: number, facts: ErrorFacts): Result {
    this.facts = facts
    return -errno
  }
}
