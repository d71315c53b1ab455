/**
 * Calls of Linux that no driver hears of, where the pages of a driver are not like any memory: they
 * belong to no file and no process (`page->mapping` is empty), and nothing writes them back.
 */
import { readU32 } from '../abi/bytes.ts'
import { ERRNO } from '../abi/errno.ts'
import { PAGE_SIZE, pagesOf } from '../abi/page.ts'
import type { Address, Result } from '../platform.ts'
import type { Process } from './process.ts'
import type { UserMemory } from './user-memory.ts'
import type { Vma } from './vma.ts'

const FUTEX_SIZE = 4

/**
 * FUTEX_WAIT until its time is over, since nobody wakes it. A shared futex is found by what its
 * page belongs to: -EFAULT in those of drivers, where a private one works (cases 266, 267, 315).
 */
export function futexWait(
  process: Process,
  memory: UserMemory,
  { address, expected, isPrivate }: { address: Address; expected: number; isPrivate: boolean },
): Result {
  if (address % FUTEX_SIZE !== 0) return -ERRNO.EINVAL
  const word = memory.read(address, FUTEX_SIZE)
  if (!word || (!isPrivate && process.vma(address)?.backing)) return -ERRNO.EFAULT
  return readU32(word, 0) === expected ? -ERRNO.ETIMEDOUT : -ERRNO.EAGAIN
}

/** msync(2) with MS_SYNC: no driver can write back (cases 268, 269, 316). */
export function msync(process: Process, address: Address, length: number): Result {
  return eachVma(process, address, length, vma => (vma.file ? -ERRNO.EINVAL : 0))
}

/** mlock(2): the pages of drivers stay where they are anyway. */
export function mlock(process: Process, address: Address, length: number): Result {
  return eachVma(process, address, length, () => 0)
}

/** The first refusal, or -ENOMEM where nothing is mapped. */
function eachVma(
  process: Process,
  address: Address,
  length: number,
  visit: (vma: Vma) => Result,
): Result {
  const end = address + pagesOf(length) * PAGE_SIZE
  for (let at = address; at < end; ) {
    const vma = process.vma(at)
    if (!vma) return -ERRNO.ENOMEM
    const refusal = visit(vma)
    if (refusal < 0) return refusal
    at = vma.end
  }
  return 0
}
