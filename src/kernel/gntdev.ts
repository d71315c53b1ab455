import type { DeviceName } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import { decodeUnmapNotify, UNMAP_NOTIFY_SIZE } from '../abi/gntalloc.ts'
import * as abi from '../abi/gntdev.ts'
import { GNTST, HANDLES_PER_FRAME } from '../abi/grant-table.ts'
import { PAGE_SHIFT, PAGE_SIZE } from '../abi/page.ts'
import type { ErrorFacts } from '../base/errors.ts'
import type { Address, Result } from '../platform.ts'
import { GrantCopy } from './gntdev-copy.ts'
import { GrantMap } from './grant-map.ts'
import { IndexSpace } from './index-space.ts'
import { limitFacts } from './limits.ts'
import { type MapRequest, OpenFile } from './open-file.ts'
import { OrderedSpans } from './ordered-spans.ts'
import type { Process } from './process.ts'
import { clearsByte, holdPort, isKnownAction, releasePort } from './unmap-notify.ts'
import type { UserMemory } from './user-memory.ts'
import type { PageBacking } from './vma.ts'

/**
 * Xen would take the page away from the gntalloc mapping for good, and the kernel die of that
 * (section 3). As on real Xen, it does not come to it.
 */
const SELF_GRANT =
  'interdom refused: in an HVM domain a grant of its own takes the page away from gntalloc for ' +
  'good. Use the gntalloc mapping itself, GRANT_COPY, or a second domain'

/** An open /dev/xen/gntdev. Source: drivers/xen/gntdev.c; section 2.4. */
export class GntdevFile extends OpenFile {
  readonly device: DeviceName = 'gntdev'
  readonly #maps = new OrderedSpans<GrantMap>()
  readonly #indexes = new IndexSpace()

  override get allowsPrivateWrite(): boolean {
    return !this.domain.profile.sealsPrivateMappings
  }

  /** What MAP made and UNMAP did not take back. */
  get maps(): Iterable<GrantMap> {
    return this.#maps
  }

  override ioctl(number: number, argument: Address, memory: UserMemory, caller: Process): Result {
    switch (number) {
      case abi.GNTDEV_MAP_GRANT_REF:
        return this.#map(argument, memory)
      case abi.GNTDEV_UNMAP_GRANT_REF:
        return this.#unmap(argument, memory)
      case abi.GNTDEV_GET_OFFSET_FOR_VADDR:
        return this.#offsetForVaddr(argument, memory, caller)
      case abi.GNTDEV_SET_UNMAP_NOTIFY:
        return this.#setNotify(argument, memory)
      case abi.GNTDEV_GRANT_COPY: {
        const copy = this.beginCopy(argument, memory, caller)
        return typeof copy === 'number' ? copy : copy.finish()
      }
    }
    // SET_MAX_GRANTS too (case 5), and the dma-buf calls of a kernel built without (case 282).
    return -ERRNO[this.domain.profile.unknownIoctl]
  }

  /** GRANT_COPY in steps, while its caller does nothing else; -errno when it is refused as such. */
  beginCopy(argument: Address, memory: UserMemory, caller: Process): GrantCopy | Result {
    this.facts = undefined
    const { hasGrantCopy, unknownIoctl } = this.domain.profile
    return hasGrantCopy ? GrantCopy.begin(caller, argument, memory) : -ERRNO[unknownIoctl]
  }

  override mmap(request: MapRequest): PageBacking | Result {
    if (request.isWritable && !request.isShared) return -ERRNO.EINVAL
    const { firstPage, count } = request
    const map = this.#find(firstPage, count)
    if (!map) return this.refuse(ERRNO.EINVAL, { index: firstPage * PAGE_SIZE, count })
    const { kind, profile, domid } = this.domain
    if (kind === 'hvm' && map.names(domid)) {
      return this.refuse(ERRNO.EINVAL, { domid, index: firstPage * PAGE_SIZE, fix: SELF_GRANT })
    }
    // Notifiers of 2011 watch the memory of the opener alone.
    const isWatched = kind === 'hvm' || profile.mapsForAnyProcess || request.process === this.opener
    if (!isWatched || !map.use(request.isWritable)) {
      return this.refuse(ERRNO.EINVAL, {
        index: firstPage * PAGE_SIZE,
        fix: 'ask for a new index with MAP_GRANT_REF: this one was mapped before',
      })
    }
    const refusal = map.map()
    if (!refusal) return map
    const isFull = refusal.gntst === GNTST.no_space
    return this.refuse(ERRNO.EINVAL, { ...refusal, ...(isFull && this.#fullMaptrack(count)) })
  }

  /** Each page takes a handle, a pv one two; what failed has given its own back by now. */
  #fullMaptrack(count: number): ErrorFacts {
    const { kind, xen } = this.domain
    const used = Math.ceil(xen.maptrack.used / HANDLES_PER_FRAME)
    const wanted = Math.ceil((count * (kind === 'pv' ? 2 : 1)) / HANDLES_PER_FRAME)
    return limitFacts(this.domain, 'maxMaptrackFrames', used, wanted)
  }

  override release(): void {
    for (const map of [...this.#maps]) map.put()
  }

  #map(argument: Address, memory: UserMemory): Result {
    const fixed = memory.read(argument, abi.MAP_GRANT_REF_SIZE)
    if (!fixed) return -ERRNO.EFAULT
    const count = abi.decodeMapGrantRefCount(fixed)
    if (count === 0) return -ERRNO.EINVAL
    const refusal = this.#refuseCount(count)
    if (refusal) return refusal
    const elements = memory.view(argument + abi.MAP_GRANT_REF_ELEMENTS, count * abi.GRANT_REF_SIZE)
    const { profile } = this.domain
    if (!elements) return -ERRNO[profile.badElements]
    const start = this.#indexes.take(count)
    const map = new GrantMap(this.domain, start, abi.decodeGrantRefs(elements))
    this.#maps.insert(map)
    abi.writeMapGrantRefIndex(fixed, byteIndex(start))
    if (memory.write(argument, fixed)) return 0
    if (profile.withdrawsUnreadMaps) this.#withdraw(map)
    return -ERRNO.EFAULT
  }

  /** The answer to a map of too many pages, if they are too many. */
  #refuseCount(wanted: number): Result | undefined {
    const { limits, profile, usage } = this.domain
    const { maps, mapPages } = usage
    const limit = limits['gntdev.limit']
    if (profile.limitsEachMap && wanted > limit) {
      const facts = limitFacts(this.domain, 'gntdev.limit', undefined, wanted)
      return this.refuse(ERRNO.EINVAL, facts)
    }
    if (!profile.limitsEachMap && mapPages + wanted > limit) {
      const facts = limitFacts(this.domain, 'gntdev.limit', mapPages, wanted)
      return this.refuse(ERRNO.ENOMEM, {
        ...facts,
        limitUnit: `pages in domain ${this.domain.domid}`,
      })
    }
    if (maps >= limits.maxMaps) {
      return this.refuse(ERRNO.ENOMEM, limitFacts(this.domain, 'maxMaps', maps, 1))
    }
    if (mapPages + wanted <= limits.maxMapPages) return undefined
    return this.refuse(ERRNO.ENOMEM, limitFacts(this.domain, 'maxMapPages', mapPages, wanted))
  }

  #unmap(argument: Address, memory: UserMemory): Result {
    const fixed = memory.read(argument, abi.UNMAP_GRANT_REF_SIZE)
    if (!fixed) return -ERRNO.EFAULT
    const { index, count } = abi.decodeUnmapGrantRef(fixed)
    const map = this.#find(Math.floor(index / PAGE_SIZE), count)
    if (!map) return this.refuse(ERRNO.ENOENT, { index, count })
    this.#withdraw(map)
    return 0
  }

  /** Any gntdev mapping of the process, of whatever descriptor (case 148). */
  #offsetForVaddr(argument: Address, memory: UserMemory, caller: Process): Result {
    const fixed = memory.read(argument, abi.OFFSET_FOR_VADDR_SIZE)
    if (!fixed) return -ERRNO.EFAULT
    // The first VMA that ends above it: the address may lie in the gap below (case 146).
    const backing = caller.addressSpace.find(abi.decodeVaddr(fixed))?.backing
    if (!(backing instanceof GrantMap)) return -ERRNO.EINVAL
    abi.writeOffsetForVaddrReply(fixed, byteIndex(backing.start), backing.count)
    return memory.write(argument, fixed) ? 0 : -ERRNO.EFAULT
  }

  #setNotify(argument: Address, memory: UserMemory): Result {
    const fixed = memory.read(argument, UNMAP_NOTIFY_SIZE)
    if (!fixed) return -ERRNO.EFAULT
    const { index, action, port } = decodeUnmapNotify(fixed)
    if (!isKnownAction(action)) return this.refuse(ERRNO.EINVAL, { index })
    // The port comes before the map (case 152).
    if (!holdPort(this.domain, action, port)) return this.refuse(ERRNO.EINVAL, { port })
    const page = Math.floor(index / PAGE_SIZE)
    const map = this.#maps.atOrBelow(page)
    if (!map || page >= map.start + map.count) {
      releasePort(this.domain, action, port)
      return this.refuse(ERRNO.ENOENT, { index })
    }
    if (clearsByte(action) && map.isReadonly) {
      releasePort(this.domain, action, port)
      return this.refuse(ERRNO.EINVAL, { index, fix: 'the mapping is read-only' })
    }
    map.setNotify(action, index - map.start * PAGE_SIZE, port)
    return 0
  }

  /** The map with this very index and count; a count of 0 matches any (gntdev_find_map_index). */
  #find(page: number, count: number): GrantMap | undefined {
    // The driver keeps the page index in 32 bits (case 278).
    const index = page | 0
    const map = this.#maps.atOrBelow(index)
    if (!map || map.start !== index) return undefined
    return count === 0 || count === map.count ? map : undefined
  }

  #withdraw(map: GrantMap): void {
    this.#maps.remove(map)
    this.#indexes.put(map.start, map.count)
    map.put()
  }
}

/**
 * The index in bytes, in the driver's signed 32 bits: beyond 2 GiB of index space on one descriptor
 * the answer is sign-extended and cannot be mapped (section 2.4).
 */
function byteIndex(page: number): number {
  return page << PAGE_SHIFT
}
