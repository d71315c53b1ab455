import { readU32 } from '../../src/abi/bytes.ts'
import { DEVICE_NAMES, type DeviceName } from '../../src/abi/devices.ts'
import * as evtchn from '../../src/abi/evtchn.ts'
import { encodeBindInterdomain, encodeU32 } from '../../src/abi/evtchn.ts'
import * as gntalloc from '../../src/abi/gntalloc.ts'
import * as gntdev from '../../src/abi/gntdev.ts'
import { MAP_SHARED } from '../../src/abi/mman.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { CallSocket, type Reply } from '../../src/host/call-socket.ts'
import { domainPath } from '../../src/host/directory.ts'
import { encodeRanges, type MemoryRange } from '../../src/host/snapshot.ts'
import {
  BodyWriter,
  HEADER_SIZE,
  OP,
  type Op,
  WIRE_MAGIC,
  WIRE_VERSION,
} from '../../src/host/wire.ts'
import { close } from '../../src/native/files.ts'
import type { HostMachine } from '../../src/start-host.ts'

/** Where the arguments of a raw client's calls lie, for the host. */
export const ARGUMENT = 0x10000

/** A client of the bare wire: it says what it likes, and keeps what it is given. */
export class RawClient {
  readonly socket: CallSocket
  readonly #lifeline: number

  constructor(machine: HostMachine, domid: number) {
    this.socket = new CallSocket(domainPath(machine.directory, domid))
    const { fds } = this.call(OP.hello, new BodyWriter().u32(WIRE_MAGIC).u32(WIRE_VERSION))
    const [lifeline = -1, ...others] = fds
    this.#lifeline = lifeline
    for (const fd of others) close(fd)
  }

  [Symbol.dispose](): void {
    this.socket.close()
    if (this.#lifeline >= 0) close(this.#lifeline)
  }

  call(op: Op, body: BodyWriter): Reply {
    const { bytes } = body.buffer
    const request = this.socket.begin(op)
    for (let at = 0; at < body.length; at += 4) request.u32(readU32(bytes, HEADER_SIZE + at))
    return this.socket.call()
  }

  open(name: DeviceName): number {
    return this.call(OP.open, new BodyWriter().u32(DEVICE_NAMES.indexOf(name)).u32(2).u32(1)).result
  }

  /** An ioctl with its argument as bytes at ARGUMENT, and more memory besides. */
  ioctl(fd: number, number: number, bytes: Uint8Array, more: readonly MemoryRange[] = []): Reply {
    const body = new BodyWriter().u32(fd).u32(number).u64(ARGUMENT)
    encodeRanges(body, [{ address: ARGUMENT, bytes, writable: true }, ...more])
    return this.call(OP.ioctl, body)
  }

  /** Grants pages: byte index and refs. */
  alloc(fd: number, domid: number, count: number, flags = 1): { index: number; refs: number[] } {
    const argument = gntalloc.encodeAllocGref({ domid, flags, count })
    const { result, body } = this.ioctl(fd, gntalloc.GNTALLOC_ALLOC_GREF, argument)
    if (result < 0) throw new Error(`ALLOC_GREF: ${result}`)
    for (let writes = body.u32(); writes > 0; writes--) {
      const at = body.u64() - ARGUMENT
      argument.set(body.bytes(), at)
    }
    return gntalloc.decodeAllocGrefReply(argument, count)
  }

  dealloc(fd: number, index: number, count: number): number {
    const argument = gntalloc.encodeDeallocGref({ index, count })
    return this.ioctl(fd, gntalloc.GNTALLOC_DEALLOC_GREF, argument).result
  }

  /** Books and maps grants at an address of the client's choice: the reply of the mmap. */
  map(fd: number, grants: readonly gntdev.GrantName[], address: number, prot = 3): Reply {
    const argument = gntdev.encodeMapGrantRef(grants)
    const { result, body } = this.ioctl(fd, gntdev.GNTDEV_MAP_GRANT_REF, argument)
    if (result < 0) throw new Error(`MAP_GRANT_REF: ${result}`)
    body.u32()
    body.u64()
    const index = gntdev.decodeMapGrantRefIndex(body.bytes())
    const length = grants.length * PAGE_SIZE
    const request = new BodyWriter().u32(fd).u64(address).u64(index).u64(length)
    return this.call(OP.mmap, request.u32(prot).u32(MAP_SHARED))
  }

  /** The descriptor of the chunk that the reply of an mmap names first. */
  chunkOf({ body }: Reply): Reply {
    body.u32()
    return this.call(OP.chunk, new BodyWriter().u32(body.u32()))
  }

  bindInterdomain(fd: number, domid: number, port: number): Reply {
    return this.ioctl(fd, evtchn.EVTCHN_BIND_INTERDOMAIN, encodeBindInterdomain(domid, port))
  }

  bindUnbound(fd: number, domid: number): Reply {
    return this.ioctl(fd, evtchn.EVTCHN_BIND_UNBOUND_PORT, encodeU32(domid))
  }
}
