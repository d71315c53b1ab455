import { ERRNO } from '../abi/errno.ts'
import { MADV_DONTNEED, MREMAP_FIXED, MREMAP_MAYMOVE } from '../abi/mman.ts'
import { PAGE_SIZE, pagesOf } from '../abi/page.ts'
import { ClosedError } from '../base/errors.ts'
import type { Process } from '../kernel/process.ts'
import type { Address, Memory, MmapOptions, Result } from '../platform.ts'
import { Regions } from './regions.ts'
import type { WorldPages } from './world-pages.ts'

/** Below it nothing can be mapped (vm.mmap_min_addr), at and above the other no user address is. */
const LOWEST_ADDRESS = 0x10000
const ADDRESS_END = 2 ** 47

/**
 * The memory of a process of a world. Its addresses are simulated, so that a run is the same each
 * time: from a base downwards, as Linux places mappings, but never twice, so that no view of an
 * old mapping meets a new one.
 */
export class WorldMemory implements Memory {
  readonly #process: Process
  readonly #pages: WorldPages
  readonly #regions: Regions
  /** Everything from here upwards was given out. */
  #lowest: Address
  #isClosed = false

  constructor(process: Process, pages: WorldPages, base: Address) {
    this.#process = process
    this.#pages = pages
    this.#regions = new Regions(pages, process)
    this.#lowest = base
  }

  alloc(length: number, at?: Address): Address | Result {
    this.#assertOpen()
    checkLength(length)
    if (length === 0 || !isPlace(at, length)) return -ERRNO.EINVAL
    const address = at ?? this.#place(length)
    const end = address + pagesOf(length) * PAGE_SIZE
    this.#process.mapAnonymous(address, length)
    this.#regions.remove(address, end)
    this.#regions.add(address, end)
    return address
  }

  munmap(address: Address, length: number): Result {
    this.#assertOpen()
    checkLength(length)
    const result = this.#process.munmap(address, length)
    if (result === 0) this.#regions.remove(address, address + pagesOf(length) * PAGE_SIZE)
    return result
  }

  protect(address: Address, length: number, prot: number): Result {
    this.#assertOpen()
    checkLength(length)
    const result = this.#process.protect(address, length, prot)
    this.#regions.refresh(address, address + pagesOf(length) * PAGE_SIZE)
    return result
  }

  /** mremap(2) with `flags` MREMAP_*; with MREMAP_FIXED to `to`. Older views read zeroes. */
  remap(
    address: Address,
    oldLength: number,
    newLength: number,
    { flags, to }: { flags: number; to?: Address },
  ): Address | Result {
    this.#assertOpen()
    checkLength(oldLength)
    checkLength(newLength)
    const isFixed = (flags & MREMAP_FIXED) !== 0
    const mayMove = (flags & MREMAP_MAYMOVE) !== 0
    if (isFixed && (!mayMove || to === undefined || !isPlace(to, newLength))) return -ERRNO.EINVAL
    const grows = pagesOf(newLength) > pagesOf(oldLength)
    const before = this.#lowest
    const target = isFixed ? to : grows && mayMove ? this.#place(newLength) : undefined
    const result = this.#process.mremap(address, oldLength, newLength, target)
    const end = address + pagesOf(oldLength) * PAGE_SIZE
    const size = pagesOf(newLength) * PAGE_SIZE
    if (result < 0) {
      this.#lowest = before
      if (target !== undefined) this.#removeUnmapped(target, target + size)
    } else if (target !== undefined) this.#regions.move(address, end, target, target + size)
    else if (address + size < end) this.#regions.remove(address + size, end)
    return result
  }

  /** madvise(2): MADV_DONTNEED, MADV_DONTFORK or MADV_DOFORK. */
  advise(address: Address, length: number, advice: number): Result {
    this.#assertOpen()
    checkLength(length)
    const result = this.#process.madvise(address, length, advice)
    if (advice !== MADV_DONTNEED) return result
    const end = address + pagesOf(length) * PAGE_SIZE
    this.#regions.refresh(address, end)
    // Behind a hole the kernel goes on, after a refusal it does not.
    if (result === 0 || result === -ERRNO.ENOMEM) this.#regions.clear(address, end)
    return result
  }

  /** The memory of a child that its kernel has forked. */
  fork(child: Process): WorldMemory {
    const memory = new WorldMemory(child, this.#pages, this.#lowest)
    this.#regions.copyTo(memory.#regions)
    return memory
  }

  view(address: Address, length: number): Uint8Array {
    this.#assertOpen()
    return this.#regions.view(address, length)
  }

  addressOf(view: Uint8Array): Address {
    this.#assertOpen()
    return this.#regions.addressOf(view)
  }

  /** mmap(2) of a device. */
  map(fd: number, { offset, length, prot, flags, at }: MmapOptions): Address | Result {
    this.#assertOpen()
    checkLength(length)
    if (!isPlace(at, length)) return -ERRNO.EINVAL
    const before = this.#lowest
    const address = at ?? this.#place(length)
    const result = this.#process.mmap(fd, { address, offset, length, prot, flags })
    const end = address + pagesOf(length) * PAGE_SIZE
    if (result < 0) {
      this.#lowest = before
      this.#removeUnmapped(address, end)
      return result
    }
    this.#regions.remove(address, end)
    this.#regions.add(address, end)
    return address
  }

  /** Every view that is still held reads zeroes from now on. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#regions.close()
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new ClosedError('the memory of this process')
  }

  /**
   * After a refusal: what lay there is gone if the kernel had made room before, and still there if
   * not, also where it has a hole in front (case 333).
   */
  #removeUnmapped(start: Address, end: Address): void {
    for (let page = start; page < end; page += PAGE_SIZE) {
      if (!this.#process.vma(page)) this.#regions.remove(page, page + PAGE_SIZE)
    }
  }

  /** The highest free place below all that was given out. */
  #place(length: number): Address {
    const size = pagesOf(length) * PAGE_SIZE
    let address = this.#lowest - size
    for (;;) {
      const vma = this.#process.addressSpace.find(address)
      if (!vma || vma.start >= address + size) break
      address = vma.start - size
    }
    this.#lowest = address
    return address
  }
}

function isPlace(at: Address | undefined, length: number): boolean {
  if (at === undefined) return true
  return at % PAGE_SIZE === 0 && at >= LOWEST_ADDRESS && at + length <= ADDRESS_END
}

function checkLength(length: number): void {
  if (!Number.isSafeInteger(length) || length < 0) {
    throw new RangeError(`${length} is not a length in bytes`)
  }
}
