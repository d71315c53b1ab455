import { readU64, writeU32 } from '../abi/bytes.ts'
import { ERRNO } from '../abi/errno.ts'
import type { OpenFile } from '../kernel/open-file.ts'
import { futexWait, mlock, msync } from '../kernel/page-calls.ts'
import type { UserMemory } from '../kernel/user-memory.ts'
import type { Address, Result } from '../platform.ts'
import type { WorldProcess } from '../sim/index.ts'
import type { SystemCall } from './puppet-protocol.ts'
import { EPOLL_CTL_ADD, F_SETFL, FUTEX_PRIVATE_FLAG, O_ASYNC } from './system-calls.ts'

/** Descriptors of what is no device; those of a process of a world begin far below. */
const FIRST_OTHER = 10_000

type Handler = (...args: number[]) => Result

interface Vector {
  readonly base: Address
  readonly length: number
}

/**
 * The calls of Linux that the seam lacks, for a process of a world: as many of them as the cases
 * make, with as many of their arguments. What a driver's pages and descriptors have to do with it
 * is asked of the kernel; what is here is the rest, pipes and epolls. A forked child begins anew.
 */
export class WorldCalls {
  readonly #process: WorldProcess
  readonly #others: (Epoll | Pipe)[] = []
  readonly #handlers: Readonly<Record<SystemCall, Handler>>
  #sigios = 0
  /** What each SIGIO looks at, and what the last one saw there. */
  #watched: Address | undefined
  #seen: Uint8Array | undefined
  #isTicking = false

  constructor(process: WorldProcess) {
    this.#process = process
    this.#handlers = { ...this.#memoryCalls(), ...this.#fileCalls() }
  }

  call(name: SystemCall, args: readonly number[]): Result {
    return this.#handlers[name](...args)
  }

  /** Whether a timer runs whose signal interrupts what waits: nothing else happens meanwhile. */
  get isTicking(): boolean {
    return this.#isTicking
  }

  /** Has each SIGIO look at a byte. */
  watch(address: Address): void {
    this.#watched = address
  }

  /** SIGIOs since this was last asked, and the byte that the last one saw. */
  takeSignals(): { count: number; seen: Uint8Array | undefined } {
    const count = this.#sigios
    this.#sigios = 0
    return { count, seen: this.#seen }
  }

  get #memory(): UserMemory {
    return this.#process.userMemory()
  }

  #memoryCalls() {
    const { kernel, memory } = this.#process
    return {
      futex: (address = 0, operation = 0, expected = 0) => {
        const isPrivate = (operation & FUTEX_PRIVATE_FLAG) !== 0
        return futexWait(kernel, this.#memory, { address, expected, isPrivate })
      },
      madvise: (address = 0, length = 0, advice = 0) => memory.advise(address, length, advice),
      mlock: (address = 0, length = 0) => mlock(kernel, address, length),
      mremap: (address = 0, from = 0, length = 0, flags = 0, to = 0) =>
        memory.remap(address, from, length, { flags, to }),
      msync: (address = 0, length = 0) => msync(kernel, address, length),
      process_vm_readv: (_pid = 0, local = 0, _locals = 0, remote = 0) =>
        this.#copyPinned(this.#vector(remote), this.#vector(local)),
    }
  }

  #fileCalls() {
    const { kernel } = this.#process
    return {
      epoll_create1: () => this.#add(new Epoll()),
      epoll_ctl: (epoll = 0, operation = 0, fd = 0) => {
        const file = kernel.file(fd)
        if (operation !== EPOLL_CTL_ADD || !file) return -ERRNO.EBADF
        return this.#other(epoll, Epoll)?.add(file) ?? -ERRNO.EBADF
      },
      epoll_pwait: (epoll = 0) => this.#other(epoll, Epoll)?.take() ?? -ERRNO.EBADF,
      fcntl: (fd = 0, command = 0, flags = 0) => {
        if (command !== F_SETFL || (flags & O_ASYNC) === 0) return 0
        return kernel.file(fd)?.onWake(() => this.#sigio()) ? 0 : -ERRNO.EBADF
      },
      lseek: (fd = 0) => kernel.lseek(fd),
      pipe2: (address = 0) => {
        const fd = this.#add(new Pipe())
        const pair = new Uint8Array(8)
        for (const at of [0, 4]) writeU32(pair, at, fd)
        return this.#memory.write(address, pair) ? 0 : -ERRNO.EFAULT
      },
      read: (fd = 0, address = 0, length = 0) => {
        const bytes = this.#other(fd, Pipe)?.take(length)
        if (!bytes) return -ERRNO.EBADF
        return this.#memory.write(address, bytes) ? bytes.length : -ERRNO.EFAULT
      },
      setitimer: (_timer = 0, value = 0) => {
        const setting = this.#memory.read(value, 32)
        this.#isTicking = setting !== undefined && readU64(setting, 24) !== 0
        return setting ? 0 : -ERRNO.EFAULT
      },
      write: (fd = 0, address = 0, length = 0) => {
        const bytes = this.#memory.read(address, length)
        if (!bytes) return -ERRNO.EFAULT
        return this.#other(fd, Pipe)?.put(bytes) ?? -ERRNO.EBADF
      },
    }
  }

  #sigio(): void {
    this.#sigios++
    if (this.#watched !== undefined) this.#seen = this.#memory.read(this.#watched, 1)
  }

  #add(other: Epoll | Pipe): number {
    return FIRST_OTHER + this.#others.push(other) - 1
  }

  #other<T extends Epoll | Pipe>(fd: number, kind: new () => T): T | undefined {
    const other = this.#others[fd - FIRST_OTHER]
    return other instanceof kind ? other : undefined
  }

  /** What an iovec names. */
  #vector(address: Address): Vector | undefined {
    const bytes = this.#memory.read(address, 16)
    return bytes && { base: readU64(bytes, 0), length: readU64(bytes, 8) }
  }

  /** The source is pinned for it, as get_user_pages does. */
  #copyPinned(from: Vector | undefined, to: Vector | undefined): Result {
    if (!from || !to || !this.#memory.canAccess(from.base, from.length, false)) return -ERRNO.EFAULT
    const bytes = this.#memory.read(from.base, Math.min(from.length, to.length))
    return bytes && this.#memory.write(to.base, bytes) ? bytes.length : -ERRNO.EFAULT
  }
}

/** Both ends of a pipe that nobody waits for. */
class Pipe {
  #bytes: number[] = []

  put(bytes: Uint8Array): number {
    this.#bytes.push(...bytes)
    return bytes.length
  }

  take(length: number): Uint8Array {
    return Uint8Array.from(this.#bytes.splice(0, length))
  }
}

/** Files that are reported once for each change to readable (EPOLLIN with EPOLLET). */
class Epoll {
  readonly #changed = new Set<OpenFile>()

  add(file: OpenFile): Result {
    if (!file.onWake(() => this.#changed.add(file))) return -ERRNO.EPERM
    this.#changed.add(file)
    return 0
  }

  /** How many of the changed ones can be read, or have failed. */
  take(): number {
    const ready = [...this.#changed].map(file => file.poll()).filter(now => now.in || now.err)
    this.#changed.clear()
    return ready.length
  }
}
