import type { DeviceName } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import * as abi from '../abi/gntalloc.ts'
import { ENTRIES_PER_FRAME } from '../abi/grant-table.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { framesOf } from '../hypervisor/frame-runs.ts'
import type { Refs } from '../hypervisor/grant-table.ts'
import type { FrameRun } from '../hypervisor/page-store.ts'
import type { Address, Result } from '../platform.ts'
import { GntallocMapping } from './gntalloc-mapping.ts'
import { limitFacts } from './limits.ts'
import { type MapRequest, OpenFile } from './open-file.ts'
import { PageRefs } from './page-refs.ts'
import type { Process } from './process.ts'
import { holdPort, isKnownAction } from './unmap-notify.ts'
import type { UserMemory } from './user-memory.ts'
import type { PageBacking } from './vma.ts'

/** kmalloc gives at most 4 MiB: the room for so many refs. */
const REFS_AT_ONCE_MAX = 2 ** 20

/** Pages, and the ref of each. */
interface GrantedPages {
  readonly refs: Refs
  readonly frames: readonly FrameRun[]
}

const NO_PAGES: GrantedPages = { refs: new Uint32Array(0), frames: [] }

/**
 * An open /dev/xen/gntalloc. Source: drivers/xen/gntalloc.c; section 2.2. Two defects of the driver
 * are left out: the count of pages never drifts after a failed ALLOC, and a mapping across two
 * ALLOC results keeps the very pages that it mapped.
 */
export class GntallocFile extends OpenFile {
  readonly device: DeviceName = 'gntalloc'
  readonly #pages = new PageRefs()
  /** The page index that the next ALLOC answers; never goes back (case 16). */
  #counter = 0
  #latest: { index: number; frames: readonly FrameRun[] } = { index: 0, frames: [] }

  override ioctl(number: number, argument: Address, memory: UserMemory, caller: Process): Result {
    switch (number) {
      case abi.GNTALLOC_ALLOC_GREF:
        return this.#alloc(argument, memory, caller)
      case abi.GNTALLOC_DEALLOC_GREF:
        return this.#dealloc(argument, memory)
      case abi.GNTALLOC_SET_UNMAP_NOTIFY:
        return this.#setNotify(argument, memory)
      default:
        return -ERRNO[this.domain.profile.unknownIoctl]
    }
  }

  override mmap(request: MapRequest): PageBacking | Result {
    if (!request.isShared) return -ERRNO.EINVAL
    const { firstPage, count } = request
    const refs = this.#pages.run(firstPage, count)
    if (!refs) return this.refuse(ERRNO.ENOENT, { index: firstPage * PAGE_SIZE, count })
    return new GntallocMapping(this.domain, refs)
  }

  /** What the last successful ALLOC made: its index in bytes, and its pages. */
  get latest(): { readonly index: number; readonly frames: readonly FrameRun[] } {
    return this.#latest
  }

  override release(): void {
    this.domain.grefs.drop(Uint32Array.from(this.#pages))
  }

  #alloc(argument: Address, memory: UserMemory, caller: Process): Result {
    const fixed = memory.read(argument, abi.ALLOC_GREF_SIZE)
    if (!fixed) return -ERRNO.EFAULT
    const wanted = abi.decodeAllocGref(fixed)
    const { grefs, limits, profile } = this.domain
    const limit = limits['gntalloc.limit']
    if (!profile.checksCountFirst && wanted.count > REFS_AT_ONCE_MAX) {
      return this.refuse(ERRNO.ENOMEM, { wanted: wanted.count })
    }
    grefs.cleanUp()
    if (grefs.pagesInUse + wanted.count > limit) {
      const facts = limitFacts(this.domain, 'gntalloc.limit', grefs.pagesInUse, wanted.count)
      return this.refuse(ERRNO.ENOSPC, facts)
    }
    const first = this.#counter
    // Consumed even when a page cannot be had (step 6 and 7).
    this.#counter += wanted.count
    const granted = wanted.count === 0 ? NO_PAGES : this.#grantPages(wanted, caller)
    if (typeof granted === 'number') return granted
    const { refs, frames } = granted
    this.#pages.set(first, refs)
    this.#latest = { index: first * PAGE_SIZE, frames }
    abi.writeAllocGrefIndex(fixed, first * PAGE_SIZE)
    // The grants stay when the answer cannot be stored (case 27).
    if (!memory.write(argument, fixed)) return -ERRNO.EFAULT
    if (refs.length === 0) return 0
    const isStored = memory.write(argument + abi.ALLOC_GREF_REFS, abi.encodeRefs(refs))
    return isStored ? 0 : -ERRNO.EFAULT
  }

  /** Pages and a grant for each, all or nothing. */
  #grantPages(wanted: abi.AllocGref, caller: Process): GrantedPages | Result {
    const { domain } = this
    const { grefs, grantRefs } = domain
    const { grants } = domain.xen
    const writable = (wanted.flags & abi.GNTALLOC_FLAG_WRITABLE) !== 0
    const frames = domain.hypervisor.pages.allocate(wanted.count, {
      granter: domain.domid,
      grantee: wanted.domid,
      writable,
      process: caller,
    })
    if (!Array.isArray(frames)) return this.refuse(ERRNO.ENOMEM, frames)
    const refs = grantRefs.take(wanted.count)
    grants.grant(refs, wanted.domid, frames, !writable)
    grefs.add(refs, caller.pid)
    if (refs.length === wanted.count) return { refs, frames }
    grefs.drop(refs)
    for (const frame of framesOf(frames).slice(refs.length)) domain.hypervisor.pages.free(frame, 1)
    return this.#refuseTable(wanted.count)
  }

  #refuseTable(count: number): Result {
    const used = this.domain.xen.grants.size / ENTRIES_PER_FRAME
    const wanted = Math.ceil(count / ENTRIES_PER_FRAME)
    return this.refuse(ERRNO.ENOSPC, limitFacts(this.domain, 'maxGrantFrames', used, wanted))
  }

  #dealloc(argument: Address, memory: UserMemory): Result {
    const fixed = memory.read(argument, abi.DEALLOC_GREF_SIZE)
    if (!fixed) return -ERRNO.EFAULT
    const { index, count } = abi.decodeDeallocGref(fixed)
    const first = index / PAGE_SIZE
    const { grefs } = this.domain
    const isRun = Number.isInteger(first) && count > 0
    const refs = isRun ? this.#pages.run(first, count) : undefined
    if (!refs) {
      grefs.cleanUp()
      return this.refuse(ERRNO.EINVAL, { index, count })
    }
    grefs.drop(refs)
    grefs.cleanUp()
    this.#pages.remove(first, count)
    return 0
  }

  #setNotify(argument: Address, memory: UserMemory): Result {
    const fixed = memory.read(argument, abi.UNMAP_NOTIFY_SIZE)
    if (!fixed) return -ERRNO.EFAULT
    const { index, action, port } = abi.decodeUnmapNotify(fixed)
    const ref = this.#pages.get(Math.floor(index / PAGE_SIZE))
    // The page is looked up before the action (case 69).
    if (ref === 0) return this.refuse(ERRNO.ENOENT, { index })
    if (!isKnownAction(action)) return this.refuse(ERRNO.EINVAL, { index })
    // The new port is held before the old one goes: renewing with the same port is safe.
    if (!holdPort(this.domain, action, port)) return this.refuse(ERRNO.EINVAL, { port })
    this.domain.grefs.setNotify(ref, action, index % PAGE_SIZE, port)
    return 0
  }
}
