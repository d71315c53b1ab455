import type { ConformanceCase } from '../case.ts'
import { evtchnBasic } from './evtchn-basic.ts'
import { generic } from './generic.ts'
import { gntallocAlloc } from './gntalloc-alloc.ts'
import { gntallocLifetime } from './gntalloc-lifetime.ts'
import { gntallocMmap } from './gntalloc-mmap.ts'
import { gntallocNotify } from './gntalloc-notify.ts'
import { gntdevMap } from './gntdev-map.ts'
import { gntdevMmap } from './gntdev-mmap.ts'
import { gntdevNotify } from './gntdev-notify.ts'
import { gntdevOffset } from './gntdev-offset.ts'
import { gntdevUnmap } from './gntdev-unmap.ts'

/** The whole suite, in order of the numbers. */
export const CASES: readonly ConformanceCase[] = [
  ...generic,
  ...gntallocAlloc,
  ...gntallocMmap,
  ...gntallocLifetime,
  ...gntallocNotify,
  ...gntdevMap,
  ...gntdevMmap,
  ...gntdevNotify,
  ...gntdevOffset,
  ...gntdevUnmap,
  ...evtchnBasic,
].sort((a, b) => a.id - b.id)
