import { PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { FileBook, Play } from './play.ts'
import type { Step, StepOf } from './sequence.ts'

/**
 * What is never played, by name and with the reason. The first ones damage a real kernel; the
 * others have no one answer that could be compared.
 */
export const EXCLUSIONS = {
  'mmap across two ALLOC results':
    'case 249: closing walks another list than mmap did, and frees what is still mapped',
  'read-only mmap after CLEAR_BYTE':
    'case 307: a PV kernel stores through a read-only mapping when the pages go, and oopses',
  'mmap of several pages after CLEAR_BYTE':
    'case 332: where one cannot be mapped, a PV kernel clears the byte all the same, and oopses',
  'BIND_STATIC of a port that is not bound here':
    'the port is not verified: two files, or a file and a driver, would serve one interrupt',
  'load from a gntdev mapping with PROT_NONE':
    'case 330: a PV kernel makes it readable, which no simulator of user space can',
  'copy with memory that was unmapped':
    'the seam lets a page stay where a view may look (platform.ts, Memory): EFAULT on Xen alone',
  'BIND_INTERDOMAIN or copy with a destroyed domain':
    'case 507: a zombie answers otherwise than nobody, and Xen takes it apart in its own time',
} as const

export type Exclusion = keyof typeof EXCLUSIONS

const DESTROYED = 'BIND_INTERDOMAIN or copy with a destroyed domain'

/** Why a step must not be played now; undefined for almost all. */
export function exclusionOf(play: Play, step: Step): Exclusion | undefined {
  if (step.do === 'peek') {
    const isOpen = play.actors.get(step.process)?.unprotected.has(step.spot.page)
    return isOpen ? 'load from a gntdev mapping with PROT_NONE' : undefined
  }
  if (!('fd' in step)) return undefined
  const book = play.open(step.fd)
  if (!book) return undefined
  const { file } = book
  switch (step.do) {
    case 'mmap':
      return exclusionOfMmap(play, file, step)
    case 'copy':
      return file.device === 'gntdev' ? exclusionOfCopy(play, book.process, step) : undefined
    case 'bindInterdomain':
      return play.isDestroyed(step.to) ? DESTROYED : undefined
    case 'bindStatic':
      return file.ports.has(play.port(step.port, book.process))
        ? undefined
        : 'BIND_STATIC of a port that is not bound here'
    default:
      return undefined
  }
}

function exclusionOfMmap(play: Play, file: FileBook, step: StepOf<'mmap'>): Exclusion | undefined {
  if (file.device === 'gntalloc' && spansAllocations(play, file, step)) {
    return 'mmap across two ALLOC results'
  }
  if (file.device !== 'gntdev' || !isArmed(play, file, step)) return undefined
  if ((step.prot & PROT_WRITE) === 0) return 'read-only mmap after CLEAR_BYTE'
  return step.pages > 1 ? 'mmap of several pages after CLEAR_BYTE' : undefined
}

function exclusionOfCopy(
  play: Play,
  process: number,
  { parts }: StepOf<'copy'>,
): Exclusion | undefined {
  const holes = play.actors.get(process)?.holes
  const sides = parts.flatMap(({ source, dest }) => [source, dest])
  if (sides.some(side => 'page' in side && holes?.has(side.page))) {
    return 'copy with memory that was unmapped'
  }
  return sides.some(side => 'nth' in side && play.isDestroyed(side.domid)) ? DESTROYED : undefined
}

function spansAllocations(play: Play, file: FileBook, { at, pages }: StepOf<'mmap'>): boolean {
  const start = play.place(at) / PAGE_SIZE
  const touched = file.allocations.filter(
    ({ first, count }) => start < first + count && start + pages > first,
  )
  if (touched.length !== 1) return touched.length > 1 || file.hasHiddenPages
  // Beside what is known there may be pages that nobody was told of.
  const isInside = touched.every(
    one => start >= one.first && start + pages <= one.first + one.count,
  )
  return file.hasHiddenPages && !isInside
}

/** Whether a byte to clear was ever armed in any of the pages. */
function isArmed(play: Play, file: FileBook, step: StepOf<'mmap'>): boolean {
  const first = Math.floor(play.place(step.at) / PAGE_SIZE)
  for (let page = first; page < first + step.pages; page++) {
    if (file.armedPages.has(page)) return true
  }
  return false
}
