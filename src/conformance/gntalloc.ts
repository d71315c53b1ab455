import {
  type AllocGref,
  decodeAllocGrefReply,
  encodeAllocGref,
  encodeDeallocGref,
  encodeUnmapNotify,
  GNTALLOC_ALLOC_GREF,
  GNTALLOC_DEALLOC_GREF,
  GNTALLOC_FLAG_WRITABLE,
  GNTALLOC_SET_UNMAP_NOTIFY,
} from '../abi/gntalloc.ts'
import type { GrantName } from '../abi/gntdev.ts'
import type { Result } from '../platform.ts'
import { Opened } from './opened.ts'
import type { Region } from './region.ts'
import { ok } from './verdict.ts'

export interface AllocAnswer {
  result: Result
  index: number
  refs: number[]
}

/** Pages of one ALLOC_GREF that succeeded. */
export interface Granted {
  readonly index: number
  readonly refs: readonly number[]
  /** What a mapper names them by. */
  readonly grants: readonly GrantName[]
  /** The first ref, for the many cases with one page. */
  readonly ref: number
}

/** Who is granted what: by default one page to the peer, writable. */
export type AllocOptions = Partial<AllocGref>

/** The verbs of an open /dev/xen/gntalloc. */
export class Gntalloc extends Opened {
  async alloc(options: AllocOptions = {}): Promise<AllocAnswer> {
    const { domid = this.facts.grantee, flags = GNTALLOC_FLAG_WRITABLE, count = 1 } = options
    const argument = encodeAllocGref({ domid, flags, count })
    const { result, bytes } = await this.ioctl(GNTALLOC_ALLOC_GREF, argument)
    return { result, ...decodeAllocGrefReply(bytes, count) }
  }

  /** ALLOC that asserts success. */
  async granted(options: AllocOptions = {}): Promise<Granted> {
    const { index, refs } = await ok(this.alloc(options))
    const grants = refs.map(ref => ({ domid: this.facts.domid, ref }))
    return { index, refs, grants, ref: refs[0] ?? Number.NaN }
  }

  /** ALLOC and mmap of all its pages, asserting success. */
  async share(options: AllocOptions = {}): Promise<Granted & { region: Region }> {
    const granted = await this.granted(options)
    return { ...granted, region: await this.region(granted.index, granted.refs.length) }
  }

  async dealloc(index: number, count = 1): Promise<Result> {
    const argument = encodeDeallocGref({ index, count })
    return (await this.ioctl(GNTALLOC_DEALLOC_GREF, argument)).result
  }

  /** SET_UNMAP_NOTIFY: `index` is a byte of the device file. */
  async setNotify(index: number, action: number, port = 0): Promise<Result> {
    const argument = encodeUnmapNotify({ index, action, port })
    return (await this.ioctl(GNTALLOC_SET_UNMAP_NOTIFY, argument)).result
  }

  async dup(): Promise<Gntalloc> {
    return new Gntalloc({ ...this.facts, fd: await this.dupFd() })
  }
}
