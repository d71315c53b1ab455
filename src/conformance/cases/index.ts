import type { ConformanceCase } from '../case.ts'
import { destroyedDomain } from './destroyed-domain.ts'
import { evtchnBasic } from './evtchn-basic.ts'
import { evtchnBind } from './evtchn-bind.ts'
import { evtchnQueue } from './evtchn-queue.ts'
import { foundByDifferential } from './found-by-differential.ts'
import { generic } from './generic.ts'
import { gntallocAlloc } from './gntalloc-alloc.ts'
import { gntallocLater } from './gntalloc-later.ts'
import { gntallocLifetime } from './gntalloc-lifetime.ts'
import { gntallocMmap } from './gntalloc-mmap.ts'
import { gntallocNotify } from './gntalloc-notify.ts'
import { gntdevLater } from './gntdev-later.ts'
import { gntdevMap } from './gntdev-map.ts'
import { gntdevMmap } from './gntdev-mmap.ts'
import { gntdevNotify } from './gntdev-notify.ts'
import { gntdevOffset } from './gntdev-offset.ts'
import { gntdevUnmap } from './gntdev-unmap.ts'
import { grantCopy } from './grant-copy.ts'
import { hvmMappings } from './hvm-mappings.ts'
import { otherDomains } from './other-domains.ts'
import { plantedBugs } from './planted-bugs.ts'
import { pvMappings } from './pv-mappings.ts'
import { releaseOrder } from './release-order.ts'

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
  ...evtchnBind,
  ...evtchnQueue,
  ...grantCopy,
  ...gntallocLater,
  ...gntdevLater,
  ...releaseOrder,
  ...pvMappings,
  ...hvmMappings,
  ...destroyedDomain,
  ...otherDomains,
  ...plantedBugs,
  ...foundByDifferential,
].sort((a, b) => a.id - b.id)
