import { pagesOf } from '../abi/page.ts'
import { type Address, addressOfBytes, answer, declare, type Result } from './koffi.ts'

/** Flags of mremap(2). Source: include/uapi/linux/mman.h. */
export const MREMAP_MAYMOVE = 1
export const MREMAP_FIXED = 2

/** Advice of {@link madvise}. Source: include/uapi/asm-generic/mman-common.h. */
export const MADV_DONTFORK = 10
/** Faults every page in, for reading or for writing, and changes no byte. Linux 5.14 and later. */
export const MADV_POPULATE_READ = 22
export const MADV_POPULATE_WRITE = 23

const mmap_ = declare(
  'intptr_t mmap(uintptr_t at, size_t length, int prot, int flags, int fd, intptr_t offset)',
)
const munmap_ = declare('int munmap(uintptr_t at, size_t length)')
const mprotect_ = declare('int mprotect(uintptr_t at, size_t length, int prot)')
const mremap_ = declare(
  'intptr_t mremap(uintptr_t at, size_t from, size_t to, int flags, uintptr_t target)',
)
const madvise_ = declare('int madvise(uintptr_t at, size_t length, int advice)')
const mincore_ = declare('int mincore(uintptr_t at, size_t length, void *resident)')
const readv = declare(
  'intptr_t process_vm_readv(int pid, const void *local, size_t n, const void *remote, size_t m, ' +
    'size_t flags)',
)
const writev = declare(
  'intptr_t process_vm_writev(int pid, const void *local, size_t n, const void *remote, ' +
    'size_t m, size_t flags)',
)

/** mmap(2). `at` 0 lets the kernel choose. Answers the address. */
export function mmap(
  at: Address,
  length: number,
  prot: number,
  flags: number,
  fd: number,
  offset: number,
): Address | Result {
  return answer(mmap_.invoke(at, length, prot, flags, fd, offset))
}

export function munmap(at: Address, length: number): Result {
  return answer(munmap_.invoke(at, length))
}

export function mprotect(at: Address, length: number, prot: number): Result {
  return answer(mprotect_.invoke(at, length, prot))
}

/**
 * mremap(2). With `from` 0 it duplicates a shared mapping, protection included, also where the
 * file has meanwhile been sealed against new writable mappings.
 */
export function mremap(
  at: Address,
  from: number,
  to: number,
  flags: number,
  target: Address = 0,
): Address | Result {
  return answer(mremap_.invoke(at, from, to, flags, target))
}

export function madvise(at: Address, length: number, advice: number): Result {
  return answer(madvise_.invoke(at, length, advice))
}

/** Whether every page of the range belongs to some mapping, whatever its protection. */
export function isMapped(at: Address, length: number): boolean {
  return answer(mincore_.invoke(at, length, new Uint8Array(pagesOf(length)))) === 0
}

// Two iovecs, ours and the other's: u64 base, u64 length. They own their ArrayBuffer and live as
// long as the module, since the kernel is given their addresses.
const local = new BigUint64Array(2)
const remote = new BigUint64Array(2)
const localBytes = new Uint8Array(local.buffer)
const remoteBytes = new Uint8Array(remote.buffer)

function describe(bytes: Uint8Array, address: Address): void {
  local[0] = BigInt(addressOfBytes(bytes))
  local[1] = BigInt(bytes.byteLength)
  remote[0] = BigInt(address)
  remote[1] = BigInt(bytes.byteLength)
}

/**
 * Copies bytes at an address of this process into `into`, by process_vm_readv(2): what is not
 * mapped, or not readable, answers -EFAULT instead of ending the process. Answers the bytes read,
 * which are fewer than asked for when only the rest is out of reach.
 */
export function readMemory(address: Address, into: Uint8Array): Result {
  if (into.byteLength === 0) return 0
  describe(into, address)
  return answer(readv.invoke(process.pid, localBytes, 1, remoteBytes, 1, 0))
}

/** The other way round: stores `from` at an address of this process. */
export function writeMemory(address: Address, from: Uint8Array): Result {
  if (from.byteLength === 0) return 0
  describe(from, address)
  return answer(writev.invoke(process.pid, localBytes, 1, remoteBytes, 1, 0))
}
