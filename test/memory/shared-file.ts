import { onTestFinished } from 'vitest'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/abi/mman.ts'
import { createMemfd } from '../../src/memory/memfd.ts'
import type { MapOptions, Ranges } from '../../src/memory/ranges.ts'
import { close, F_SEAL_GROW, F_SEAL_SHRINK } from '../../src/native/libc.ts'

export const PAGE = 4096
export const SHARED: MapOptions = { prot: PROT_READ | PROT_WRITE, flags: MAP_SHARED }

/** A memfd of so many pages, closed after the test. */
export function sharedFile(pages: number): number {
  const seals = F_SEAL_SHRINK | F_SEAL_GROW
  const fd = createMemfd({ name: 'interdom test', length: pages * PAGE, seals })
  if (fd < 0) throw new Error(`refused: ${fd}`)
  onTestFinished(() => {
    close(fd)
  })
  return fd
}

/** Maps pages of it, and fails when that is refused. */
export function mapPages(memory: Ranges, fd: number, first: number, count: number): number {
  const address = memory.map({ fd, offset: first * PAGE, length: count * PAGE }, SHARED)
  if (address < 0) throw new Error(`refused: ${address}`)
  return address
}
