import { readFileSync } from 'node:fs'
import { ERRNO } from '../abi/errno.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import {
  type Address,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  madvise,
  readMemory,
  writeMemory,
} from '../native/libc.ts'

/**
 * Memory of this process at an address that somebody else named, as copy_from_user and copy_to_user
 * see it: what a kernel answers with EFAULT is an answer here too, and no signal.
 */

/** A copy of the bytes, or undefined unless all of them can be read. */
export function readSelf(address: Address, length: number): Uint8Array | undefined {
  const bytes = new Uint8Array(length)
  return readMemory(address, bytes) === length ? bytes : undefined
}

/** Stores the bytes: true, or false when some could not be; those before them may be stored. */
export function writeSelf(address: Address, bytes: Uint8Array): boolean {
  return writeMemory(address, bytes) === bytes.byteLength
}

/**
 * Whether every byte could be read, or read and written, as pinning the pages would find. Changes
 * none: a byte that was read and written back could undo what a peer stored in between.
 */
export function canAccess(address: Address, length: number, writable: boolean): boolean {
  if (length === 0) return true
  const start = address - (address % PAGE_SIZE)
  const whole = Math.ceil((address + length - start) / PAGE_SIZE) * PAGE_SIZE
  const advice = writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ
  const result = madvise(start, whole, advice)
  // EINVAL is a page without that right, or a kernel before 5.14 that does not know the advice.
  if (result !== -ERRNO.EINVAL) return result === 0
  return isListed(start, start + whole, writable)
}

/** Asks /proc/self/maps: slower the more mappings there are. */
function isListed(start: Address, end: Address, writable: boolean): boolean {
  let at = start
  for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) (.)(.)/.exec(line)
    if (!match) continue
    const [from, to] = [Number.parseInt(match[1]!, 16), Number.parseInt(match[2]!, 16)]
    if (to <= at) continue
    if (from > at || match[3] !== 'r' || (writable && match[4] !== 'w')) return false
    at = to
    if (at >= end) return true
  }
  return false
}
