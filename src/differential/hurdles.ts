import { PROT_NONE, PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Result } from '../platform.ts'
import { ARENA_PAGES } from './limits.ts'
import type { Actor } from './play.ts'
import type { Hurdle } from './sequence.ts'

/** Of ALLOC_GREF and of MAP_GRANT_REF: what the driver reads first. */
const FIXED_SIZE = 24

/** Makes a call whose argument lies where the driver cannot use it as it wants. */
export async function callPast(
  hurdle: Hurdle,
  { puppet, arena }: Actor,
  fd: number,
  number: number,
  argument: Uint8Array,
): Promise<Result> {
  const page = arena + ARENA_PAGES * PAGE_SIZE
  if (hurdle === 'readonly') {
    // Room for refs is only written, so that a count of thousands needs no more than this page.
    await puppet.poke(page, argument.subarray(0, PAGE_SIZE))
    await puppet.protect(page, PAGE_SIZE, PROT_READ)
    const result = await puppet.ioctlAt(fd, number, page)
    await puppet.protect(page, PAGE_SIZE, PROT_READ | PROT_WRITE)
    return result
  }
  await puppet.protect(page + PAGE_SIZE, PAGE_SIZE, PROT_NONE)
  const address = page + PAGE_SIZE - FIXED_SIZE
  await puppet.poke(address, argument.subarray(0, FIXED_SIZE))
  return puppet.ioctlAt(fd, number, address)
}
