import { channel } from 'node:diagnostics_channel'
import {
  decodeAllocGrefReply,
  encodeAllocGref,
  GNTALLOC_ALLOC_GREF,
  GNTALLOC_FLAG_WRITABLE,
} from '../abi/gntalloc.ts'
import {
  decodeMapGrantRefIndex,
  decodeOffsetForVaddrReply,
  encodeMapGrantRef,
  encodeOffsetForVaddr,
  encodeUnmapGrantRef,
  GNTDEV_GET_OFFSET_FOR_VADDR,
  GNTDEV_MAP_GRANT_REF,
  GNTDEV_UNMAP_GRANT_REF,
  type GrantName,
} from '../abi/gntdev.ts'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { described, integerBetween } from '../base/arguments.ts'
import type { ErrorFacts } from '../base/errors.ts'
import type { Owner } from '../base/owner.ts'
import { callDevice, mmapDevice, releaseStep } from '../device-call.ts'
import type { Address, Device, Platform } from '../platform.ts'
import { type CopyStatus, type GrantCopy, grantCopy } from './copy.ts'
import { checkDomid, checkGrantName, describeGrants } from './grant-name.ts'
import { PAGES_MAX } from './limits.ts'
import { Mapping, type ReadOnlyMapping } from './mapping.ts'
import { Pages } from './pages.ts'
import { deallocShare, Share } from './share.ts'

/** What to grant, and to whom. */
export interface ShareOptions {
  /** Domain that may map the pages; need not exist yet. */
  readonly to: number
  /** Whether it may write too. */
  readonly writable?: boolean
  /** 1 if left out. */
  readonly pages?: number
}

/** How to map; read-only if left out. */
export interface MapOptions {
  readonly writable?: boolean
}

const shareChannel = channel('interdom:grant:share')
const unshareChannel = channel('interdom:grant:unshare')
const mapChannel = channel('interdom:grant:map')
const unmapChannel = channel('interdom:grant:unmap')
const copyChannel = channel('interdom:grant:copy')

/** Grants and mappings of one connection, on one descriptor of gntalloc and one of gntdev. */
export class Grants {
  readonly #platform: Platform
  readonly #owner: Owner
  readonly #device: (name: 'gntalloc' | 'gntdev') => Device

  constructor(platform: Platform, owner: Owner, device: (name: 'gntalloc' | 'gntdev') => Device) {
    this.#platform = platform
    this.#owner = owner
    this.#device = device
  }

  share({ to, writable = false, pages = 1 }: ShareOptions): Share {
    this.#owner.assertOpen()
    checkDomid('to', to)
    const count = integerBetween('pages', pages, 1, PAGES_MAX)
    const device = this.#device('gntalloc')
    const flags = writable ? GNTALLOC_FLAG_WRITABLE : 0
    const argument = encodeAllocGref({ domid: to, flags, count })
    callDevice(device, GNTALLOC_ALLOC_GREF, argument, { domid: to, count })
    const { index, refs } = decodeAllocGrefReply(argument, count)
    // One mmap for exactly one ALLOC result: one that spans two corrupts the driver's counts.
    const address = this.#mmap(device, index, count, true, { index }, () =>
      deallocShare(device, index, count),
    )
    const domid = this.#platform.domid
    const grants = refs.map(ref => ({ domid, ref }))
    const held = this.#shared(device, { index, count, address }, grants)
    publish(shareChannel, () => ({ domid, to, grants, writable, index }))
    const { memory } = this.#platform
    return new Share({ grants, to, writable, pages: held, device, memory })
  }

  map(grants: GrantName | readonly GrantName[], options: { writable: true }): Mapping
  map(grants: GrantName | readonly GrantName[], options?: { writable?: false }): ReadOnlyMapping
  map(grants: GrantName | readonly GrantName[], options?: MapOptions): Mapping | ReadOnlyMapping
  map(named: GrantName | readonly GrantName[], { writable = false }: MapOptions = {}): Mapping {
    this.#owner.assertOpen()
    const grants = checkGrants(named)
    // The domid is asked for only where it matters: a program that maps needs nothing but gntdev.
    const own = grants.find(
      ({ domid }) => this.#platform.kind === 'hvm' && domid === this.#platform.domid,
    )
    if (own) {
      throw new TypeError(
        `grant ${own.domid}:${own.ref} is this domain’s own, and in an HVM domain Xen takes the ` +
          'page out from under its owner when it is mapped; map it from another domain, or copy',
      )
    }
    const count = grants.length
    const facts = count === 1 ? { ...grants[0] } : { count }
    const device = this.#device('gntdev')
    const argument = encodeMapGrantRef(grants)
    callDevice(device, GNTDEV_MAP_GRANT_REF, argument, facts)
    const index = decodeMapGrantRefIndex(argument)
    const address = this.#mmap(device, index, count, writable, facts, () =>
      unmapGrantRef(device, index, count),
    )
    const pages = this.#mapped(device, { index, count, address }, grants)
    const { memory } = this.#platform
    publish(mapChannel, () => ({ domid: this.#platform.domid, grants, writable, index }))
    return new Mapping({ grants, writable, pages, device, memory })
  }

  offsetForAddress(address: Address): { offset: number; count: number } {
    this.#owner.assertOpen()
    const argument = encodeOffsetForVaddr(integerBetween('address', address, 0, 2 ** 48 - 1))
    callDevice(this.#device('gntdev'), GNTDEV_GET_OFFSET_FOR_VADDR, argument)
    return decodeOffsetForVaddrReply(argument)
  }

  copy(copies: readonly GrantCopy[]): CopyStatus[] {
    this.#owner.assertOpen()
    const statuses = grantCopy(this.#device('gntdev'), this.#platform.memory, copies)
    publish(copyChannel, () => ({ domid: this.#platform.domid, statuses }))
    return statuses
  }

  /** mmap, and what the ioctl before it booked is given back before its failure is told. */
  #mmap(
    device: Device,
    offset: number,
    count: number,
    writable: boolean,
    facts: ErrorFacts,
    undo: () => number,
  ): Address {
    const prot = writable ? PROT_READ | PROT_WRITE : PROT_READ
    try {
      const length = count * PAGE_SIZE
      return mmapDevice(device, { offset, length, prot, flags: MAP_SHARED }, facts)
    } catch (error) {
      undo()
      throw error
    }
  }

  /**
   * DEALLOC_GREF first, which leaves the pages to the mapping, then munmap, which drops their last
   * user: so does libxengntshr, and so byte and event come together, at the munmap.
   */
  #shared(device: Device, at: Place, grants: readonly GrantName[]): Pages {
    const memory = this.#platform.memory
    const { index, count, address } = at
    const dealloc = () => deallocShare(device, index, count)
    const munmap = () => memory.munmap(address, count * PAGE_SIZE)
    return this.#owner.adopt(
      new Pages({
        ...at,
        what: `share of ${describeGrants(grants)}`,
        owner: this.#owner,
        release: [
          () => releaseStep(dealloc, 'ioctl GNTALLOC_DEALLOC_GREF'),
          () => releaseStep(munmap, 'munmap'),
          () => publish(unshareChannel, () => ({ domid: this.#platform.domid, grants, index })),
        ],
      }),
    )
  }

  /** munmap, then UNMAP_GRANT_REF, which drops the last user: as libxengnttab does. */
  #mapped(device: Device, at: Place, grants: readonly GrantName[]): Pages {
    const memory = this.#platform.memory
    const { index, count, address } = at
    const munmap = () => memory.munmap(address, count * PAGE_SIZE)
    const unmap = () => unmapGrantRef(device, index, count)
    return this.#owner.adopt(
      new Pages({
        ...at,
        what: `mapping of ${describeGrants(grants)}`,
        owner: this.#owner,
        release: [
          () => releaseStep(munmap, 'munmap'),
          () => releaseStep(unmap, 'ioctl GNTDEV_UNMAP_GRANT_REF'),
          () => publish(unmapChannel, () => ({ domid: this.#platform.domid, grants, index })),
        ],
      }),
    )
  }
}

interface Place {
  readonly index: number
  readonly count: number
  readonly address: Address
}

function unmapGrantRef(device: Device, index: number, count: number): number {
  return device.ioctl(GNTDEV_UNMAP_GRANT_REF, encodeUnmapGrantRef({ index, count }))
}

function checkGrants(named: GrantName | readonly GrantName[]): GrantName[] {
  if (named === undefined || named === null) {
    throw new TypeError(`grants must be { domid, ref } or an array, got ${described(named)}`)
  }
  const list = Array.isArray(named) ? (named as readonly GrantName[]) : [named as GrantName]
  integerBetween('number of grants', list.length, 1, PAGES_MAX)
  return list.map((grant, i) => checkGrantName(grant, `grants[${i}]`))
}

function publish(to: ReturnType<typeof channel>, message: () => object): undefined {
  if (to.hasSubscribers) to.publish(message())
}
