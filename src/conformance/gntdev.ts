import { encodeUnmapNotify } from '../abi/gntalloc.ts'
import {
  COPY_SEGMENT_SIZE,
  COPY_SEGMENT_STATUS,
  type CopyEndpoint,
  copyFlags,
  decodeCopyStatus,
  decodeMapGrantRefIndex,
  decodeOffsetForVaddrReply,
  encodeCopySegments,
  encodeCopyStatus,
  encodeGrantCopy,
  encodeMapGrantRef,
  encodeOffsetForVaddr,
  encodeUnmapGrantRef,
  GNTDEV_GET_OFFSET_FOR_VADDR,
  GNTDEV_GRANT_COPY,
  GNTDEV_MAP_GRANT_REF,
  GNTDEV_SET_UNMAP_NOTIFY,
  GNTDEV_UNMAP_GRANT_REF,
  type GrantName,
} from '../abi/gntdev.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Address, Result } from '../platform.ts'
import { type MappingOptions, Opened } from './opened.ts'
import type { Region } from './region.ts'
import { ok } from './verdict.ts'

/** A copy segment as a case writes it: its flags follow from its sides unless they are given. */
export interface CopyRequest {
  readonly source: CopyEndpoint
  readonly dest: CopyEndpoint
  readonly len: number
  readonly flags?: number
}

/** The verbs of an open /dev/xen/gntdev. */
export class Gntdev extends Opened {
  /** MAP_GRANT_REF: no hypercall yet, so nonsense is accepted. */
  async map(grants: readonly GrantName[]): Promise<{ result: Result; index: number }> {
    const { result, bytes } = await this.ioctl(GNTDEV_MAP_GRANT_REF, encodeMapGrantRef(grants))
    return { result, index: decodeMapGrantRefIndex(bytes) }
  }

  /** MAP_GRANT_REF of `count` grants that nobody made, for cases about indexes; asserts success. */
  async mapAnything(count = 1): Promise<number> {
    const grants = Array.from({ length: count }, (_, ref) => ({ domid: this.facts.domid, ref }))
    return (await ok(this.map(grants))).index
  }

  /** MAP_GRANT_REF and mmap of all of it, asserting success. */
  async mapped(
    grants: readonly GrantName[],
    options: MappingOptions = {},
  ): Promise<{ index: number; region: Region }> {
    const { index } = await ok(this.map(grants))
    return { index, region: await this.region(index, grants.length, options) }
  }

  /** MAP_GRANT_REF, which must succeed, and the answer of the mmap, which is the case's subject. */
  async tryMap(grants: readonly GrantName[], options: MappingOptions = {}): Promise<Result> {
    const { index } = await ok(this.map(grants))
    return this.mmap(index, grants.length, options)
  }

  /** Whether the grants can be mapped now: the answer of the mmap, everything undone again. */
  async probe(grants: readonly GrantName[], options: MappingOptions = {}): Promise<Result> {
    const { index } = await ok(this.map(grants))
    const address = await this.mmap(index, grants.length, options)
    if (address >= 0) await ok(this.puppet.munmap(address, grants.length * PAGE_SIZE))
    await ok(this.unmap(index, grants.length))
    return Math.min(address, 0)
  }

  async unmap(index: number, count = 1): Promise<Result> {
    const argument = encodeUnmapGrantRef({ index, count })
    return (await this.ioctl(GNTDEV_UNMAP_GRANT_REF, argument)).result
  }

  async offsetFor(vaddr: Address): Promise<{ result: Result; offset: number; count: number }> {
    const argument = encodeOffsetForVaddr(vaddr)
    const { result, bytes } = await this.ioctl(GNTDEV_GET_OFFSET_FOR_VADDR, argument)
    return { result, ...decodeOffsetForVaddrReply(bytes) }
  }

  /** SET_UNMAP_NOTIFY: `index` is a byte of the device file. */
  async setNotify(index: number, action: number, port = 0): Promise<Result> {
    const argument = encodeUnmapNotify({ index, action, port })
    return (await this.ioctl(GNTDEV_SET_UNMAP_NOTIFY, argument)).result
  }

  /**
   * GRANT_COPY. The statuses are `preset` before the call, so that one can see which the driver
   * stored; the segments lie in memory of the puppet, new for this call unless given.
   */
  async copy(
    requests: readonly CopyRequest[],
    { preset = 99, at }: { preset?: number; at?: Address } = {},
  ): Promise<{ result: Result; statuses: number[] }> {
    const segments = encodeCopySegments(
      requests.map(one => ({ ...one, flags: one.flags ?? copyFlags(one.source, one.dest) })),
    )
    presetStatuses(segments, preset)
    const length = Math.max(1, segments.length)
    const address = at ?? (await ok(this.puppet.alloc(length)))
    if (segments.length > 0) await this.puppet.poke(address, segments)
    const argument = encodeGrantCopy(requests.length, address)
    const { result } = await this.ioctl(GNTDEV_GRANT_COPY, argument)
    const after = segments.length > 0 ? await this.puppet.peek(address, segments.length) : segments
    if (at === undefined) await ok(this.puppet.munmap(address, length))
    return { result, statuses: requests.map((_, i) => decodeCopyStatus(after, i)) }
  }

  async dup(): Promise<Gntdev> {
    return new Gntdev({ ...this.facts, fd: await this.dupFd() })
  }
}

function presetStatuses(segments: Uint8Array, status: number): void {
  const bytes = encodeCopyStatus(status)
  for (let at = COPY_SEGMENT_STATUS; at < segments.length; at += COPY_SEGMENT_SIZE) {
    segments.set(bytes, at)
  }
}
