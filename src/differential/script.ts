/**
 * A script for testbed/player.c: what was done on the model, with the model's numbers (descriptors,
 * refs, ports, addresses) replaced by variables, since another kernel gives other numbers.
 */
import { readU16, readU32, readU64 } from '../abi/bytes.ts'
import {
  EVTCHN_BIND_INTERDOMAIN,
  EVTCHN_BIND_STATIC,
  EVTCHN_BIND_UNBOUND_PORT,
  EVTCHN_NOTIFY,
  EVTCHN_RESTRICT_DOMID,
  EVTCHN_UNBIND,
} from '../abi/evtchn.ts'
import { ALLOC_GREF_REFS, decodeAllocGrefReply, GNTALLOC_ALLOC_GREF } from '../abi/gntalloc.ts'
import * as gntdev from '../abi/gntdev.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Reply, RequestOf } from '../conformance/puppet-protocol.ts'
import type { Access, Address, LimitName } from '../platform.ts'
import { ALL_PAGES, ARENA_PAGES, EVENT_WITHIN_MS } from './limits.ts'
import { DOMIDS, type Taken } from './model.ts'
import { sideOf } from './sequence.ts'

/** Source: include/uapi/asm-generic/fcntl.h. */
const O_NONBLOCK = 0o4000
const O_CLOEXEC = 0o2000000
const ACCESS: Readonly<Record<Access, number>> = { read: 0, write: 1, readwrite: 2 }

const MODULES: Readonly<Record<LimitName, string>> = {
  'gntalloc.limit': 'xen_gntalloc',
  'gntdev.limit': 'xen_gntdev',
}

/** Where the arguments of calls have a port. */
const PORT_AT: ReadonlyMap<number, number> = new Map([
  [EVTCHN_UNBIND, 0],
  [EVTCHN_NOTIFY, 0],
  [EVTCHN_BIND_STATIC, 0],
  [EVTCHN_BIND_INTERDOMAIN, 4],
  [gntdev.GNTDEV_SET_UNMAP_NOTIFY, 12],
])
/** Where they have a domain, 16 bits wide: what is beside it they have room for. */
const DOMID_AT: ReadonlyMap<number, number> = new Map([
  [GNTALLOC_ALLOC_GREF, 0],
  [EVTCHN_BIND_UNBOUND_PORT, 0],
  [EVTCHN_BIND_INTERDOMAIN, 0],
  [EVTCHN_RESTRICT_DOMID, 0],
])
/** Where they have an address. */
const ADDRESS_AT: ReadonlyMap<number, number> = new Map([
  [gntdev.GNTDEV_GET_OFFSET_FOR_VADDR, 0],
  [gntdev.GNTDEV_GRANT_COPY, 8],
])

/** Lines of a script for what was done in one sequence. */
export function scriptOf(taken: readonly Taken[]): string[] {
  const script = new Script(taken)
  return taken.map((one, n) => script.line(one, n))
}

type TakenCall = Extract<Taken, { request: unknown }>

class Script {
  /** The variable of each number of the model, by what it numbers. */
  readonly #variables = new Map<string, string>()
  readonly #arenas = new Map<number, Address>()
  readonly #taken: readonly Taken[]

  constructor(taken: readonly Taken[]) {
    this.#taken = taken
  }

  /** The n-th line. */
  line(taken: Taken, n: number): string {
    if ('kill' in taken) return `${taken.kill} kill`
    if ('limit' in taken) return `0 limit ${MODULES[taken.limit]} ${taken.pages}`
    if ('settleMs' in taken) return `0 settle ${taken.settleMs}`
    if ('guest' in taken) return taken.guest === 'begins' ? '0 guest' : '0 destroy'
    return [taken.process, ...this.#words(taken, n)].join(' ')
  }

  #words(taken: TakenCall, n: number): (string | number)[] {
    const { process, request, reply } = taken
    const at = (address: Address): string => this.#address(process, address)
    switch (request.op) {
      case 'open': {
        const flags = ACCESS[request.access] | (request.nonblock ? O_NONBLOCK : 0) | O_CLOEXEC
        return ['open', request.device, flags, this.#newFd(process, reply)]
      }
      case 'dup':
        return ['dup', this.#fd(process, request.fd), this.#newFd(process, reply)]
      case 'close':
        return ['close', this.#fd(process, request.fd)]
      case 'ioctl':
        return this.#ioctl(process, request, reply)
      case 'mmap': {
        const { fd, offset, length, prot, flags, at: place = 0 } = request
        return ['mmap', this.#fd(process, fd), offset, length, prot, flags, at(place)]
      }
      case 'alloc':
        if (request.at !== undefined) return ['anonymous', request.length, at(request.at)]
        this.#arenas.set(process, reply.result)
        return ['arena', request.length / PAGE_SIZE]
      case 'munmap':
        return ['munmap', at(request.address), request.length]
      case 'protect':
        return ['protect', at(request.address), request.length, request.prot]
      case 'peek':
        return ['peek', at(request.address), request.length]
      case 'poke':
        return ['poke', at(request.address), ...this.#poked(process, request, n)]
      case 'read': {
        const waitMs = reply.result > 0 ? EVENT_WITHIN_MS : 0
        return ['read', this.#fd(process, request.fd), request.length, waitMs]
      }
      case 'write':
        return ['write', this.#fd(process, request.fd), ...this.#ports(process, request.bytes)]
      case 'poll': {
        const waitMs = reply.readiness?.in ? EVENT_WITHIN_MS : 0
        return ['poll', this.#fd(process, request.fd), waitMs]
      }
      case 'reset':
        return ['reset']
      default:
        throw new Error(`a script has no ${request.op}`)
    }
  }

  #ioctl(process: number, request: RequestOf<'ioctl'>, reply: Reply): (string | number)[] {
    const { number, bytes, address } = request
    const fd = this.#fd(process, request.fd)
    if (address !== undefined) return ['pointer', fd, number, this.#address(process, address)]
    const fields = bytes ? this.#fields(process, number, bytes) : []
    return ['ioctl', fd, number, ...fields, ...this.#kept(process, number, bytes, reply)]
  }

  /** An argument in words of four bytes, or eight for an address. */
  #fields(process: number, number: number, bytes: Uint8Array): string[] {
    const fields: string[] = []
    for (let at = 0; at < bytes.length; ) {
      const left = bytes.length - at
      if (bytes.subarray(at).every(byte => byte === 0)) return [...fields, `${left}:0`]
      if (left >= 8 && ADDRESS_AT.get(number) === at) {
        fields.push(`8:${this.#address(process, readU64(bytes, at))}`)
        at += 8
      } else if (left >= 4) {
        fields.push(...this.#field(process, number, bytes, at))
        at += 4
      } else fields.push(`1:${bytes[at++]}`)
    }
    return fields
  }

  /** Four bytes of an argument, in one word or two. */
  #field(process: number, number: number, bytes: Uint8Array, at: number): string[] {
    const value = readU32(bytes, at)
    // MAP_GRANT_REF: domid, ref, domid, ref … behind the fixed part.
    const isElement = number === gntdev.GNTDEV_MAP_GRANT_REF && at >= gntdev.MAP_GRANT_REF_ELEMENTS
    if (DOMID_AT.get(number) === at || (isElement && at % 8 === 0)) {
      return [domidField(value & 0xffff), `2:${value >>> 16}`]
    }
    if (isElement) return [`4:${this.#known(of('ref', readU32(bytes, at - 4), process), value)}`]
    if (PORT_AT.get(number) !== at) return [`4:${value}`]
    const domid = number === EVTCHN_BIND_INTERDOMAIN ? readU32(bytes, 0) : undefined
    return [`4:${this.#known(of('port', domid, process), value)}`]
  }

  /** What of the answer later calls name. */
  #kept(process: number, number: number, bytes: Uint8Array | undefined, reply: Reply): string[] {
    if (number === GNTALLOC_ALLOC_GREF && reply.result === 0 && bytes && reply.bytes) {
      const { refs } = decodeAllocGrefReply(reply.bytes, readU32(bytes, 4))
      return refs.map(
        (ref, i) => `>${ALLOC_GREF_REFS + 4 * i}:4:${this.#variable(own('ref', process), ref)}`,
      )
    }
    // Only what binds answers more than 0.
    return reply.result > 0 ? [this.#variable(own('port', process), reply.result)] : []
  }

  /** Bytes for memory: the argument of a call that comes, segments of a copy, or anything. */
  #poked(process: number, { address, bytes }: RequestOf<'poke'>, n: number): string[] {
    const scratch = (this.#arenas.get(process) ?? 0) + ARENA_PAGES * PAGE_SIZE
    if (address < scratch) return [...bytes].map(byte => `1:${byte}`)
    const next = this.#nextCall(n)
    if (next?.address === address) return this.#fields(process, next.number, bytes)
    return this.#segments(process, bytes)
  }

  /** The next ioctl: what is put beside the arena is for it. */
  #nextCall(n: number): RequestOf<'ioctl'> | undefined {
    for (let i = n + 1; i < this.#taken.length; i++) {
      const taken = this.#taken[i]
      if (taken && 'request' in taken && taken.request.op === 'ioctl') return taken.request
    }
    return undefined
  }

  /** Segments of a copy have addresses, refs and domains in them. */
  #segments(process: number, bytes: Uint8Array): string[] {
    const fields: string[] = []
    for (let at = 0; at < bytes.length; at += gntdev.COPY_SEGMENT_SIZE) {
      const { flags } = gntdev.decodeCopySegment(bytes.subarray(at))
      fields.push(
        ...this.#side(process, bytes, at, (flags & gntdev.GRANT_COPY_SOURCE_GREF) !== 0),
        ...this.#side(process, bytes, at + 8, (flags & gntdev.GRANT_COPY_DEST_GREF) !== 0),
        `4:${readU32(bytes, at + 16)}`,
        `4:${readU32(bytes, at + 20)}`,
      )
    }
    return fields
  }

  #side(process: number, bytes: Uint8Array, at: number, isGrant: boolean): string[] {
    if (!isGrant) return [`8:${this.#address(process, readU64(bytes, at))}`]
    const [ref, domid] = [readU32(bytes, at), readU16(bytes, at + 6)]
    return [
      `4:${this.#known(of('ref', domid, process), ref)}`,
      `2:${readU16(bytes, at + 4)}`,
      domidField(domid),
    ]
  }

  #ports(process: number, bytes: Uint8Array): string[] {
    const whole = bytes.length - (bytes.length % 4)
    const fields: string[] = []
    for (let at = 0; at < whole; at += 4) {
      fields.push(`4:${this.#known(own('port', process), readU32(bytes, at))}`)
    }
    return [...fields, ...[...bytes.subarray(whole)].map(byte => `1:${byte}`)]
  }

  #address(process: number, address: Address): string {
    const offset = address - (this.#arenas.get(process) ?? 0)
    const isInside = offset >= 0 && offset < ALL_PAGES * PAGE_SIZE
    return isInside ? `@${offset}` : String(address)
  }

  #newFd(process: number, { result }: Reply): string {
    return this.#variable(`fd of ${process}`, result)
  }

  #fd(process: number, fd: number): string {
    return this.#known(`fd of ${process}`, fd)
  }

  /** The variable of a number that some call gave, else the number itself. */
  #known(kind: string, number: number): string {
    return this.#variables.get(`${kind} ${number}`) ?? String(number)
  }

  #variable(kind: string, number: number): string {
    const key = `${kind} ${number}`
    const variable = this.#variables.get(key) ?? `$${this.#variables.size}`
    this.#variables.set(key, variable)
    return variable
  }
}

/** What a process's own domain numbers. */
function own(kind: 'port' | 'ref', process: number): string {
  return `${kind} of side ${sideOf(process)}`
}

/** What the domain that an argument names numbers; a process's own where there is no such. */
function of(kind: 'port' | 'ref', domid: number | undefined, process: number): string {
  const side = DOMIDS.indexOf((domid ?? -1) & 0xffff)
  return side < 0 ? own(kind, process) : `${kind} of side ${side}`
}

/** The guest of the test bed has the number that it has. */
function domidField(domid: number): string {
  return `2:${domid === DOMIDS[1] ? '%' : domid}`
}
