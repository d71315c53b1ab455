import { ERRNO } from '../abi/errno.ts'
import * as abi from '../abi/gntdev.ts'
import { GNTST } from '../abi/grant-table.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { type CopyPlace, copyGrant, type LocalPlace } from '../hypervisor/grant-copy.ts'
import type { Address, Result } from '../platform.ts'
import type { Process } from './process.ts'
import type { UserMemory } from './user-memory.ts'

/** One operation for the hypervisor: inside of one page on either side. */
interface CopyOperation {
  readonly source: CopyPlace
  readonly dest: CopyPlace
  readonly length: number
  /** Where the status of its segment is stored. */
  readonly status: Address
}

/**
 * GRANT_COPY. Segments are checked one by one and cut into operations, which are executed sixteen
 * at a time: when the seventeenth is about to be added, that is after the checks of its segment
 * (case 272), and at the end. A refusal drops what is queued. Source: gntdev_ioctl_grant_copy.
 *
 * It is done in steps, since a call can have any number of segments. Other domains may do what they
 * like between two of them, as they may on Xen.
 */
export class GrantCopy {
  readonly #caller: Process
  readonly #memory: UserMemory
  readonly #count: number
  readonly #segments: Address
  #done = 0
  #batch: CopyOperation[] = []

  /** The copy that an argument asks for, or -EFAULT. */
  static begin(caller: Process, argument: Address, memory: UserMemory): GrantCopy | Result {
    const header = memory.read(argument, abi.GRANT_COPY_SIZE)
    if (!header) return -ERRNO.EFAULT
    return new GrantCopy(caller, memory, abi.decodeGrantCopy(header))
  }

  private constructor(
    caller: Process,
    memory: UserMemory,
    { count, segments }: { readonly count: number; readonly segments: Address },
  ) {
    this.#caller = caller
    this.#memory = memory
    this.#count = count
    this.#segments = segments
  }

  /** Goes on by up to `max` segments: the result of the call, or undefined while there are more. */
  step(max: number): Result | undefined {
    const end = Math.min(this.#done + max, this.#count)
    for (; this.#done < end; this.#done++) {
      const result = this.#add(this.#segments + this.#done * abi.COPY_SEGMENT_SIZE)
      if (result < 0) return result
    }
    return end < this.#count ? undefined : this.#flush()
  }

  /** All of it at once. */
  finish(): Result {
    for (;;) {
      const result = this.step(this.#count)
      if (result !== undefined) return result
    }
  }

  #add(at: Address): Result {
    const bytes = this.#memory.read(at, abi.COPY_SEGMENT_SIZE)
    if (!bytes) return -ERRNO.EFAULT
    const segment = abi.decodeCopySegment(bytes)
    if (!('ref' in segment.source) && !('ref' in segment.dest)) return -ERRNO.EINVAL
    if (overruns(segment.source, segment.len) || overruns(segment.dest, segment.len)) {
      return -ERRNO.EINVAL
    }
    const status = at + abi.COPY_SEGMENT_STATUS
    if (!this.#memory.write(status, abi.encodeCopyStatus(GNTST.okay))) return -ERRNO.EFAULT
    let copied = 0
    while (copied < segment.len) {
      if (this.#batch.length >= abi.GRANT_COPY_BATCH) {
        const result = this.#flush()
        if (result < 0) return result
      }
      const length = Math.min(
        segment.len - copied,
        roomAt(segment.source, copied),
        roomAt(segment.dest, copied),
      )
      const source = this.#place(segment.source, copied, length, false)
      const dest = this.#place(segment.dest, copied, length, true)
      if (!source || !dest) return -ERRNO.EFAULT
      this.#batch.push({ source, dest, length, status })
      copied += length
    }
    return 0
  }

  /** Executes what is queued; a segment keeps the status of its first operation that failed. */
  #flush(): Result {
    const batch = this.#batch
    this.#batch = []
    const { hypervisor, xen } = this.#caller.domain
    const statuses = batch.map(op => copyGrant(hypervisor, xen, op.source, op.dest, op.length))
    for (const [i, { status }] of batch.entries()) {
      const old = this.#memory.read(status, 2)
      if (!old) return -ERRNO.EFAULT
      if (old[0] !== 0 || old[1] !== 0) continue
      const now = abi.encodeCopyStatus(statuses[i] ?? GNTST.general_error)
      if (!this.#memory.write(status, now)) return -ERRNO.EFAULT
    }
    return 0
  }

  /** One side of an operation; undefined when its page cannot be pinned. */
  #place(
    side: abi.CopyEndpoint,
    copied: number,
    length: number,
    writable: boolean,
  ): CopyPlace | undefined {
    if ('ref' in side) return { ...side, offset: side.offset + copied }
    const address = side.address + copied
    if (!this.#memory.canAccess(address, length, writable)) return undefined
    return localPlace(this.#caller, this.#memory, address)
  }
}

function localPlace(caller: Process, memory: UserMemory, address: Address): LocalPlace {
  const vma = caller.addressSpace.at(address)
  return {
    isForeign: vma?.backing?.isForeign(vma.pageAt(address)) ?? false,
    read: length => memory.read(address, length) ?? new Uint8Array(length),
    write: bytes => {
      memory.write(address, bytes)
    },
  }
}

function overruns(side: abi.CopyEndpoint, length: number): boolean {
  return 'ref' in side && side.offset + length > PAGE_SIZE
}

/** Bytes up to the end of the page of a local side; a grant does not cross one. */
function roomAt(side: abi.CopyEndpoint, copied: number): number {
  if ('ref' in side) return PAGE_SIZE
  return PAGE_SIZE - ((side.address + copied) % PAGE_SIZE)
}
