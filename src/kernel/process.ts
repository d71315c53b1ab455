import type { DeviceName } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import {
  MADV_DOFORK,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MAP_SHARED,
  MAP_TYPE,
  PROT_READ,
  PROT_WRITE,
} from '../abi/mman.ts'
import { PAGE_SIZE, pagesOf } from '../abi/page.ts'
import type { ErrorFacts } from '../base/errors.ts'
import type { Access, Address, Readiness, Result } from '../platform.ts'
import { AddressSpace, revoke } from './address-space.ts'
import { Descriptors } from './descriptors.ts'
import type { Domain } from './domain.ts'
import { limitFacts } from './limits.ts'
import { mmapRefusal } from './mmap-refusal.ts'
import type { OpenFile } from './open-file.ts'
import type { UserMemory } from './user-memory.ts'
import { Vma } from './vma.ts'

/** mmap(2) of a device, at an address that the caller chose: what was there goes (MAP_FIXED). */
export interface MmapRequest {
  readonly address: Address
  /** Bytes into the device file. */
  readonly offset: number
  /** Bytes; rounded up to pages. */
  readonly length: number
  readonly prot: number
  readonly flags: number
}

/** A process of a domain, as its kernel sees it: descriptors, memory map, system calls. */
export class Process {
  readonly domain: Domain
  readonly pid: number
  readonly addressSpace: AddressSpace
  readonly #descriptors: Descriptors
  /** Files whose last reference went during this call: released at its end, last in, first out. */
  readonly #delayed: OpenFile[] = []
  /** About the last refusal that was no file's. */
  #facts: ErrorFacts | undefined
  #isDead = false

  constructor(domain: Domain, pid: number, parent?: Process) {
    this.domain = domain
    this.pid = pid
    this.addressSpace = new AddressSpace(file => this.#delayed.push(file), domain.usage)
    this.#descriptors = parent ? parent.#descriptors.copy() : new Descriptors()
    parent?.addressSpace.copyTo(this.addressSpace)
  }

  get isDead(): boolean {
    return this.#isDead
  }

  /**
   * A descriptor, -EMFILE at the process's limit of them, -ENFILE at the domain's, or -ENOENT when
   * the module of the device is not loaded; Linux looks for the file last.
   */
  open(device: DeviceName, options: { access: Access; nonblock: boolean }): number {
    if (this.#isDead) return -ERRNO.ESRCH
    this.#facts = this.#tooManyDescriptors()
    if (this.#facts) return -ERRNO.EMFILE
    const { files, limits } = this.domain
    if (files.size >= limits.maxDomainFiles) {
      this.#facts = limitFacts(this.domain, 'maxDomainFiles', files.size, 1)
      return -ERRNO.ENFILE
    }
    this.#facts = this.domain.modules.absenceOf(device)
    if (this.#facts) return -ERRNO.ENOENT
    const file = this.domain.machine.openFile(this, device, options)
    this.domain.fileOpened(file)
    return this.#descriptors.add(file)
  }

  /** What a descriptor refers to. */
  file(fd: number): OpenFile | undefined {
    return this.#descriptors.get(fd)
  }

  ioctl(fd: number, number: number, argument: Address, memory: UserMemory): Result {
    const file = this.#descriptors.get(fd)
    if (!file) return -ERRNO.EBADF
    file.facts = undefined
    return file.ioctl(number >>> 0, argument, memory, this)
  }

  /** 0 or `-errno`; the checks are those of the kernel core, in its order (section 1.5). */
  mmap(fd: number, request: MmapRequest): Result {
    const file = this.#descriptors.get(fd)
    if (!file) return -ERRNO.EBADF
    file.facts = undefined
    const full = this.#tooManyMappings(1)
    const refusal = mmapRefusal(request, file, full === undefined)
    if (refusal === -ERRNO.ENOMEM) file.facts = full
    if (refusal < 0) return refusal
    const { address, offset, length, prot } = request
    const end = address + pagesOf(length) * PAGE_SIZE
    file.facts = this.#tooManyMappings(1 + this.addressSpace.cuts(address, end))
    if (file.facts) return -ERRNO.ENOMEM
    const type = request.flags & MAP_TYPE
    const isWritable = (prot & PROT_WRITE) !== 0
    // On a descriptor without write mode the kernel drops the shared bit (case 33).
    const isShared = type === MAP_SHARED && file.canWrite
    const mayWrite = type === MAP_SHARED ? file.canWrite : file.allowsPrivateWrite
    const count = pagesOf(length)
    this.addressSpace.unmap(address, end)
    const firstPage = offset / PAGE_SIZE
    const backing = file.mmap({ firstPage, count, isWritable, isShared, process: this })
    if (typeof backing !== 'number') {
      this.addressSpace.insert(
        new Vma({
          start: address,
          end,
          prot,
          shared: isShared,
          mayWrite,
          file,
          backing,
          firstPage: 0,
        }),
      )
    }
    this.#releaseDelayed()
    return typeof backing === 'number' ? backing : 0
  }

  /** Says where a mapping lies that was made before anybody knew. */
  place(address: Address, length: number, to: Address): Result {
    if (address % PAGE_SIZE !== 0 || to % PAGE_SIZE !== 0) return -ERRNO.EINVAL
    const end = address + pagesOf(length) * PAGE_SIZE
    const isPlaced = this.addressSpace.place(address, end, to)
    this.#releaseDelayed()
    return isPlaced ? 0 : -ERRNO.EINVAL
  }

  munmap(address: Address, length: number): Result {
    if (address % PAGE_SIZE !== 0 || !(length > 0)) return -ERRNO.EINVAL
    const end = address + pagesOf(length) * PAGE_SIZE
    if (!this.#mayCut(address, end)) return -ERRNO.ENOMEM
    this.addressSpace.unmap(address, end)
    this.#releaseDelayed()
    return 0
  }

  protect(address: Address, length: number, prot: number): Result {
    if (address % PAGE_SIZE !== 0) return -ERRNO.EINVAL
    const end = address + pagesOf(length) * PAGE_SIZE
    if (!this.#mayCut(address, end)) return -ERRNO.ENOMEM
    return this.addressSpace.protect(address, end, prot)
  }

  /**
   * mremap(2) of pages of one mapping: to `to`, over whatever is there, or where they are. Answers
   * where they are then. The mappings of both drivers can shrink and move, and never grow
   * (VM_DONTEXPAND; cases 43, 125).
   */
  mremap(address: Address, oldLength: number, newLength: number, to?: Address): Address | Result {
    const end = address + pagesOf(oldLength) * PAGE_SIZE
    const size = pagesOf(newLength) * PAGE_SIZE
    const target = to ?? address
    if (address % PAGE_SIZE !== 0 || target % PAGE_SIZE !== 0 || size === 0) return -ERRNO.EINVAL
    const vma = this.addressSpace.at(address)
    if (!vma) return -ERRNO.EFAULT
    if (to !== undefined) {
      if (to < end && address < to + size) return -ERRNO.EINVAL
      if (!this.#mayCut(to, to + size)) return -ERRNO.ENOMEM
      this.addressSpace.unmap(to, to + size)
    }
    const result = this.#resize(vma, address, end, size, to)
    this.#releaseDelayed()
    return result < 0 ? result : target
  }

  /** madvise(2), as far as it concerns the pages of drivers. */
  madvise(address: Address, length: number, advice: number): Result {
    if (address % PAGE_SIZE !== 0) return -ERRNO.EINVAL
    const end = address + pagesOf(length) * PAGE_SIZE
    // Without room for another mapping; memory is not what lacks (madvise_walk_vmas).
    if (!this.#mayCut(address, end)) return -ERRNO.EAGAIN
    return this.addressSpace.advise(address, end, piece => this.#advise(piece, advice))
  }

  /**
   * fork(2): a child that has the same open files under the same numbers, and such mappings as are
   * inherited; or why there is none.
   */
  fork(pid: number): Process | Result {
    if (this.#isDead) return -ERRNO.ESRCH
    this.#facts = this.#tooManyMappings(this.addressSpace.size)
    return this.#facts ? -ERRNO.ENOMEM : this.domain.createProcess({ pid, parent: this })
  }

  /** Private zeroed memory, over whatever is there. Only worlds need the kernel to know of it. */
  mapAnonymous(address: Address, length: number): Result {
    if (address % PAGE_SIZE !== 0 || !(length > 0)) return -ERRNO.EINVAL
    const end = address + pagesOf(length) * PAGE_SIZE
    this.addressSpace.unmap(address, end)
    this.addressSpace.insert(
      new Vma({
        start: address,
        end,
        prot: PROT_READ | PROT_WRITE,
        shared: false,
        mayWrite: true,
        file: undefined,
        backing: undefined,
        firstPage: 0,
      }),
    )
    this.#releaseDelayed()
    return 0
  }

  /** The mapping in which `address` lies. */
  vma(address: Address): Vma | undefined {
    return this.addressSpace.at(address)
  }

  /**
   * Bytes, or `-errno`. An empty evtchn answers -EAGAIN whatever the mode of its descriptor: to
   * wait is the caller's business.
   */
  read(fd: number, into: Uint8Array): Result {
    return this.#descriptors.get(fd)?.read(into) ?? -ERRNO.EBADF
  }

  write(fd: number, from: Uint8Array): Result {
    return this.#descriptors.get(fd)?.write(from) ?? -ERRNO.EBADF
  }

  poll(fd: number): Readiness {
    return this.#descriptors.get(fd)?.poll() ?? { in: false, out: false, err: true }
  }

  /** None of the devices has a position (case 11). */
  lseek(fd: number): Result {
    return this.#descriptors.get(fd) ? -ERRNO.ESPIPE : -ERRNO.EBADF
  }

  dup(fd: number): Result {
    const file = this.#descriptors.get(fd)
    if (!file) return -ERRNO.EBADF
    file.facts = this.#tooManyDescriptors()
    return file.facts ? -ERRNO.EMFILE : this.#descriptors.add(file)
  }

  close(fd: number): Result {
    const file = this.#descriptors.remove(fd)
    if (!file) return -ERRNO.EBADF
    if (file.drop()) this.#delayed.push(file)
    this.#releaseDelayed()
    return 0
  }

  /** Exit and SIGKILL alike: memory in ascending order, then the files (cases 285 to 291). */
  kill(): void {
    if (this.#isDead) return
    this.#isDead = true
    this.addressSpace.clear()
    for (const fd of this.#descriptors.numbers()) {
      const file = this.#descriptors.remove(fd)
      if (file?.drop()) this.#delayed.push(file)
    }
    this.#releaseDelayed()
    this.domain.processGone(this)
  }

  /** The domain was destroyed: the process is gone, and nobody cleans up after it. */
  halt(): void {
    this.#isDead = true
    for (const fd of this.#descriptors.numbers()) this.#descriptors.remove(fd)
  }

  /** What is known about the last refusal of this file; without one, of open or munmap. */
  explain(fd?: number): ErrorFacts | undefined {
    return fd === undefined ? this.#facts : this.#descriptors.get(fd)?.facts
  }

  #resize(vma: Vma, address: Address, end: Address, size: number, to?: Address): Result {
    const { addressSpace } = this
    const kept = Math.min(end, address + size)
    if (kept < end) {
      if (!this.#mayCut(kept, end)) return -ERRNO.ENOMEM
      addressSpace.unmap(kept, end)
    } else if (vma.end < end) return -ERRNO.EFAULT
    else if (end < address + size) {
      if (vma.backing) return -ERRNO.EFAULT
      if (to === undefined) return -ERRNO.ENOMEM
    }
    if (to === undefined) return 0
    if (!this.#mayCut(address, kept)) return -ERRNO.ENOMEM
    addressSpace.move(address, kept, to, size)
    return 0
  }

  #advise(piece: Vma, advice: number): Result {
    const { backing } = piece
    switch (advice) {
      case MADV_DONTNEED:
        if (backing && this.domain.profile.mapsBareFrames) return -ERRNO.EINVAL
        revoke(piece)
        piece.isEmptied = backing !== undefined
        return 0
      case MADV_DONTFORK:
        piece.isInherited = false
        return 0
      case MADV_DOFORK:
        // A kernel says 0, and may hang at the fork (case 306): that is left out.
        if (backing?.isEnteredByXen) return -ERRNO.EINVAL
        piece.isInherited = true
        return 0
      default:
        return -ERRNO.EINVAL
    }
  }

  #tooManyDescriptors(): ErrorFacts | undefined {
    const used = this.#descriptors.size
    if (used < this.domain.limits.maxFiles) return undefined
    return limitFacts(this.domain, 'maxFiles', used, 1)
  }

  #tooManyMappings(more: number): ErrorFacts | undefined {
    const { limits, usage } = this.domain
    if (more === 0 || usage.mappings + more <= limits.maxMappings) return undefined
    return limitFacts(this.domain, 'maxMappings', usage.mappings, more)
  }

  /** A mapping of which the middle goes becomes two: munmap(2) can fail like mmap(2). */
  #mayCut(start: Address, end: Address): boolean {
    this.#facts = this.#tooManyMappings(this.addressSpace.cuts(start, end))
    return this.#facts === undefined
  }

  /**
   * The kernel queues the last fput of a file until the call returns, and works the queue from its
   * newest end: hence descriptors in descending order at death, and files that only a mapping held
   * last of all (section 2.2).
   */
  #releaseDelayed(): void {
    for (let file = this.#delayed.pop(); file; file = this.#delayed.pop()) {
      file.release()
      this.domain.fileReleased(file)
    }
  }
}
