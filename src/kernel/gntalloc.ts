import type { DeviceName } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import * as abi from '../abi/gntalloc.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Frame } from '../hypervisor/page-store.ts'
import type { Address, Result } from '../platform.ts'
import { GntallocMapping } from './gntalloc-mapping.ts'
import { type MapRequest, OpenFile } from './open-file.ts'
import { PageRefs } from './page-refs.ts'
import type { Process } from './process.ts'
import { holdPort, isKnownAction } from './unmap-notify.ts'
import type { UserMemory } from './user-memory.ts'
import type { PageBacking } from './vma.ts'

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

  override ioctl(number: number, argument: Address, memory: UserMemory, caller: Process): Result {
    switch (number) {
      case abi.GNTALLOC_ALLOC_GREF:
        return this.#alloc(argument, memory, caller)
      case abi.GNTALLOC_DEALLOC_GREF:
        return this.#dealloc(argument, memory)
      case abi.GNTALLOC_SET_UNMAP_NOTIFY:
        return this.#setNotify(argument, memory)
      default:
        return -ERRNO.ENOTTY
    }
  }

  override mmap(request: MapRequest): PageBacking | Result {
    if (!request.isShared) return -ERRNO.EINVAL
    const { firstPage, count } = request
    if (!this.#pages.hasRun(firstPage, count)) {
      return this.refuse(ERRNO.ENOENT, { index: firstPage * PAGE_SIZE, count })
    }
    const refs: number[] = []
    for (let i = 0; i < count; i++) refs.push(this.#pages.get(firstPage + i))
    return new GntallocMapping(this.domain, refs)
  }

  /** The pages of a run that is allocated. */
  framesAt(index: number, count: number): Frame[] {
    const first = index / PAGE_SIZE
    const { grants } = this.domain.xen
    const frames: Frame[] = []
    for (let i = 0; i < count; i++) frames.push(grants.frame(this.#pages.get(first + i)))
    return frames
  }

  override release(): void {
    for (const ref of this.#pages) this.domain.grefs.drop(ref)
  }

  #alloc(argument: Address, memory: UserMemory, caller: Process): Result {
    const fixed = memory.read(argument, abi.ALLOC_GREF_SIZE)
    if (!fixed) return -ERRNO.EFAULT
    const wanted = abi.decodeAllocGref(fixed)
    const { grefs, limits } = this.domain
    const limit = limits['gntalloc.limit']
    if (grefs.pagesInUse + wanted.count > limit) {
      return this.refuse(ERRNO.ENOSPC, {
        limit: 'gntalloc limit',
        limitValue: limit,
        limitUnit: `pages in domain ${this.domain.domid}`,
        knob: 'gntalloc.limit',
        used: grefs.pagesInUse,
        wanted: wanted.count,
        fix: `raise gntalloc.limit of domain ${this.domain.domid}`,
      })
    }
    const first = this.#counter
    // Consumed even when a page cannot be had (step 6 and 7).
    this.#counter += wanted.count
    const refs = wanted.count === 0 ? [] : this.#grantPages(wanted, caller)
    if (typeof refs === 'number') return refs
    for (let i = 0; i < refs.length; i++) this.#pages.set(first + i, refs[i] as number)
    abi.writeAllocGrefIndex(fixed, first * PAGE_SIZE)
    // The grants stay when the answer cannot be stored (case 27).
    if (!memory.write(argument, fixed)) return -ERRNO.EFAULT
    if (refs.length === 0) return 0
    const isStored = memory.write(argument + abi.ALLOC_GREF_REFS, abi.encodeRefs(refs))
    return isStored ? 0 : -ERRNO.EFAULT
  }

  /** Pages and a grant for each, all or nothing. */
  #grantPages(wanted: abi.AllocGref, caller: Process): number[] | Result {
    const { domain } = this
    const writable = (wanted.flags & abi.GNTALLOC_FLAG_WRITABLE) !== 0
    const frames = domain.hypervisor.pages.allocate(wanted.count, {
      granter: domain.domid,
      grantee: wanted.domid,
      writable,
      process: caller,
    })
    if (!frames) return this.refuse(ERRNO.ENOMEM, { wanted: wanted.count })
    const refs: number[] = []
    for (const frame of frames) {
      const ref = domain.grantRefs.take()
      if (ref === 0) {
        this.#undo(refs, frames)
        return this.#refuseTable(wanted.count)
      }
      domain.xen.grants.grant(ref, wanted.domid, frame, !writable)
      domain.grefs.add(ref, caller.pid)
      domain.grefs.pagesInUse++
      refs.push(ref)
    }
    return refs
  }

  #undo(refs: readonly number[], frames: readonly number[]): void {
    for (const ref of refs) this.domain.grefs.drop(ref)
    for (const frame of frames.slice(refs.length)) this.domain.hypervisor.pages.free(frame)
  }

  #refuseTable(wanted: number): Result {
    return this.refuse(ERRNO.ENOSPC, {
      limit: 'grant table of',
      limitValue: this.domain.limits.maxGrantFrames,
      limitUnit: `frames of 512 refs in domain ${this.domain.domid}`,
      knob: 'maxGrantFrames',
      wanted,
      fix: 'raise max_grant_frames of the domain',
    })
  }

  #dealloc(argument: Address, memory: UserMemory): Result {
    const fixed = memory.read(argument, abi.DEALLOC_GREF_SIZE)
    if (!fixed) return -ERRNO.EFAULT
    const { index, count } = abi.decodeDeallocGref(fixed)
    const first = index / PAGE_SIZE
    const isRun = Number.isInteger(first) && count > 0 && this.#pages.hasRun(first, count)
    if (!isRun) return this.refuse(ERRNO.EINVAL, { index, count })
    for (let page = first; page < first + count; page++) {
      const ref = this.#pages.get(page)
      this.#pages.remove(page)
      this.domain.grefs.drop(ref)
    }
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
    if (!holdPort(this.domain.ports, action, port)) return this.refuse(ERRNO.EINVAL, { port })
    this.domain.grefs.setNotify(ref, action, index % PAGE_SIZE, port)
    return 0
  }
}
