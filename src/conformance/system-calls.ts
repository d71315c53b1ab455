/** System calls that the seam does not have, made by puppets that can (the puppet in C). */
import { viewOf, writeU64 } from '../abi/bytes.ts'
import { MREMAP_FIXED, MREMAP_MAYMOVE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Address, Result } from '../platform.ts'
import type { Evtchn } from './evtchn.ts'
import type { Opened } from './opened.ts'
import type { Puppet } from './puppet.ts'
import type { Region } from './region.ts'
import { ok } from './verdict.ts'

/** Source: include/uapi/asm-generic/mman-common.h. */
const MS_SYNC = 4

/** Source: include/uapi/linux/futex.h. */
const FUTEX_WAIT = 0
export const FUTEX_PRIVATE_FLAG = 128
const FUTEX_WAIT_MS = 10

/** Source: include/uapi/linux/eventpoll.h. */
export const EPOLL_CTL_ADD = 1
const EPOLLIN = 1
const EPOLLET = 2 ** 31
/** Packed, on x86-64 alone. */
const EPOLL_EVENT_SIZE = 12

/** Source: include/uapi/asm-generic/fcntl.h. */
export const F_SETFL = 4
const F_SETOWN = 8
const O_RDWR = 2
const O_NONBLOCK = 0o4000
export const O_ASYNC = 0o20000

/** Source: include/uapi/linux/time.h. */
const ITIMER_REAL = 0

const SEEK_SET = 0

export function lseek({ puppet, fd }: Opened, offset: number): Promise<Result> {
  return puppet.syscall('lseek', fd, offset, SEEK_SET)
}

/** Another size, wherever there is room for it. */
export function resize(region: Region, pages: number): Promise<Address | Result> {
  const [from, to] = [region.pages * PAGE_SIZE, pages * PAGE_SIZE]
  return region.puppet.syscall('mremap', region.address, from, to, MREMAP_MAYMOVE)
}

/** The same pages somewhere else, over whatever is there. */
export async function move(region: Region, to: Region): Promise<Region> {
  const length = region.pages * PAGE_SIZE
  const flags = MREMAP_MAYMOVE | MREMAP_FIXED
  const { puppet, address } = region
  return region.at(await ok(puppet.syscall('mremap', address, length, length, flags, to.address)))
}

export function madvise(region: Region, advice: number): Promise<Result> {
  return region.puppet.syscall('madvise', region.address, region.pages * PAGE_SIZE, advice)
}

export function mlock(region: Region): Promise<Result> {
  return region.puppet.syscall('mlock', region.address, region.pages * PAGE_SIZE)
}

export function msync(region: Region): Promise<Result> {
  return region.puppet.syscall('msync', region.address, region.pages * PAGE_SIZE, MS_SYNC)
}

/** FUTEX_WAIT on the first word of a region, which is zero: nobody wakes us. */
export async function futexWait(region: Region, kind: 'shared' | 'private'): Promise<Result> {
  const timeout = new Uint8Array(16)
  writeU64(timeout, 8, FUTEX_WAIT_MS * 1e6)
  const operation = kind === 'private' ? FUTEX_WAIT | FUTEX_PRIVATE_FLAG : FUTEX_WAIT
  const { puppet, address } = region
  return puppet.syscall('futex', address, operation, 0, await stored(puppet, timeout))
}

/** Bytes at an address of the puppet itself, by way of the kernel. */
export async function processVmRead(
  { puppet, address }: Region,
  length: number,
): Promise<Uint8Array> {
  const into = await ok(puppet.alloc(length))
  const vectors = new Uint8Array(32)
  for (const [n, base] of [into, address].entries()) {
    writeU64(vectors, 16 * n, base)
    writeU64(vectors, 16 * n + 8, length)
  }
  const local = await stored(puppet, vectors)
  await ok(puppet.syscall('process_vm_readv', puppet.pid, local, 1, local + 16, 1, 0))
  return puppet.peek(into, length)
}

/** Moves bytes through a pipe, write(2) taking them from one region and read(2) into another. */
export async function copyByPipe(from: Region, into: Region, length: number): Promise<void> {
  const { puppet } = from
  const pair = await stored(puppet, new Uint8Array(8))
  await ok(puppet.syscall('pipe2', pair, 0))
  const fds = viewOf(await puppet.peek(pair, 8))
  await ok(puppet.syscall('write', fds.getInt32(4, true), from.address, length))
  await ok(puppet.syscall('read', fds.getInt32(0, true), into.address, length))
}

/** An epoll of a puppet. */
export class Epoll {
  readonly #puppet: Puppet
  readonly #fd: number

  static async create(puppet: Puppet): Promise<Epoll> {
    return new Epoll(puppet, await ok(puppet.syscall('epoll_create1', 0)))
  }

  private constructor(puppet: Puppet, fd: number) {
    this.#puppet = puppet
    this.#fd = fd
  }

  /** Waits for input on a device from now on, told once for each change to readable. */
  async addEdgeTriggered({ fd }: Opened): Promise<Result> {
    const event = new Uint8Array(EPOLL_EVENT_SIZE)
    viewOf(event).setUint32(0, EPOLLIN + EPOLLET, true)
    const at = await stored(this.#puppet, event)
    return this.#puppet.syscall('epoll_ctl', this.#fd, EPOLL_CTL_ADD, fd, at)
  }

  /** How many devices have something new to tell. */
  async count(): Promise<number> {
    const into = await stored(this.#puppet, new Uint8Array(EPOLL_EVENT_SIZE))
    return ok(this.#puppet.syscall('epoll_pwait', this.#fd, into, 1, 0, 0, 0))
  }
}

/** Has the kernel send SIGIO to the puppet when there is something new. */
export async function sendSigio({ puppet, fd }: Pick<Evtchn, 'puppet' | 'fd'>): Promise<void> {
  await ok(puppet.syscall('fcntl', fd, F_SETOWN, puppet.pid))
  await ok(puppet.syscall('fcntl', fd, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC))
}

/** Interrupts the puppet every `ms`, whatever it does, until it is told 0. */
export async function interruptEvery(puppet: Puppet, ms: number): Promise<void> {
  const timer = new Uint8Array(32)
  for (const at of [8, 24]) writeU64(timer, at, ms * 1000)
  await ok(puppet.syscall('setitimer', ITIMER_REAL, await stored(puppet, timer), 0))
}

/** Puts bytes into new memory of the puppet. */
async function stored(puppet: Puppet, bytes: Uint8Array): Promise<Address> {
  const address = await ok(puppet.alloc(PAGE_SIZE))
  await puppet.poke(address, bytes)
  return address
}
