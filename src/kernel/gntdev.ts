import type { DeviceName } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import { decodeUnmapNotify, UNMAP_NOTIFY_SIZE } from '../abi/gntalloc.ts'
import * as abi from '../abi/gntdev.ts'
import { PAGE_SHIFT, PAGE_SIZE } from '../abi/page.ts'
import type { Address, Result } from '../platform.ts'
import { grantCopy } from './gntdev-copy.ts'
import { GrantMap } from './grant-map.ts'
import { IndexSpace } from './index-space.ts'
import { type MapRequest, OpenFile } from './open-file.ts'
import { OrderedSpans } from './ordered-spans.ts'
import type { Process } from './process.ts'
import { clearsByte, holdPort, isKnownAction, releasePort } from './unmap-notify.ts'
import type { UserMemory } from './user-memory.ts'
import type { PageBacking } from './vma.ts'

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
      case abi.GNTDEV_GRANT_COPY:
        return grantCopy(caller, argument, memory)
      default:
        // SET_MAX_GRANTS too (case 5), and the dma-buf calls of a kernel built without (case 282).
        return -ERRNO.ENOTTY
    }
  }

  override mmap(request: MapRequest): PageBacking | Result {
    if (request.isWritable && !request.isShared) return -ERRNO.EINVAL
    const { firstPage, count } = request
    const map = this.#find(firstPage, count)
    if (!map) return this.refuse(ERRNO.EINVAL, { index: firstPage * PAGE_SIZE, count })
    if (!map.use(request.isWritable)) {
      return this.refuse(ERRNO.EINVAL, {
        index: firstPage * PAGE_SIZE,
        fix: 'an index can be mapped once; ask for a new one with MAP_GRANT_REF',
      })
    }
    const refusal = map.map()
    return refusal ? this.refuse(ERRNO.EINVAL, { ...refusal }) : map
  }

  override release(): void {
    for (const map of [...this.#maps]) map.put()
  }

  #map(argument: Address, memory: UserMemory): Result {
    const fixed = memory.read(argument, abi.MAP_GRANT_REF_SIZE)
    if (!fixed) return -ERRNO.EFAULT
    const count = abi.decodeMapGrantRefCount(fixed)
    const limit = this.domain.limits['gntdev.limit']
    if (count === 0 || count > limit) {
      return this.refuse(ERRNO.EINVAL, {
        limit: 'gntdev limit',
        limitValue: limit,
        limitUnit: `pages a call in domain ${this.domain.domid}`,
        knob: 'gntdev.limit',
        wanted: count,
        fix: 'map in several calls, or raise gntdev.limit',
      })
    }
    const elements = memory.read(argument + abi.MAP_GRANT_REF_ELEMENTS, count * abi.GRANT_REF_SIZE)
    if (!elements) return -ERRNO.EFAULT
    const start = this.#indexes.take(count)
    const map = new GrantMap(this.domain, start, abi.decodeGrantRefs(elements))
    this.#maps.insert(map)
    abi.writeMapGrantRefIndex(fixed, byteIndex(start))
    if (memory.write(argument, fixed)) return 0
    this.#withdraw(map)
    return -ERRNO.EFAULT
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
    const { ports } = this.domain
    if (!isKnownAction(action)) return this.refuse(ERRNO.EINVAL, { index })
    // The port comes before the map (case 152).
    if (!holdPort(ports, action, port)) return this.refuse(ERRNO.EINVAL, { port })
    const page = Math.floor(index / PAGE_SIZE)
    const map = this.#maps.atOrBelow(page)
    if (!map || page >= map.start + map.count) {
      releasePort(ports, action, port)
      return this.refuse(ERRNO.ENOENT, { index })
    }
    if (clearsByte(action) && map.isReadonly) {
      releasePort(ports, action, port)
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
