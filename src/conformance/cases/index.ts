import type { ConformanceCase } from '../case.ts'
import { evtchnBasic } from './evtchn-basic.ts'
import { generic } from './generic.ts'
import { gntallocAlloc } from './gntalloc-alloc.ts'
import { gntallocMmap } from './gntalloc-mmap.ts'

/** The whole suite, in order of the numbers. */
export const CASES: readonly ConformanceCase[] = [
  ...generic,
  ...gntallocAlloc,
  ...gntallocMmap,
  ...evtchnBasic,
].sort((a, b) => a.id - b.id)
