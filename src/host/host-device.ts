import { argumentSize, type DeviceName, ioctlName, portBytes } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import {
  decodeU32,
  EVTCHN_BIND_STATIC,
  EVTCHN_NOTIFY,
  EVTCHN_RESET,
  EVTCHN_UNBIND,
  encodeU32,
  PORT_SIZE,
} from '../abi/evtchn.ts'
import {
  decodeDeallocGref,
  decodeUnmapNotify,
  GNTALLOC_ALLOC_GREF,
  GNTALLOC_DEALLOC_GREF,
  GNTALLOC_SET_UNMAP_NOTIFY,
} from '../abi/gntalloc.ts'
import {
  decodeMapGrantRefCount,
  decodeUnmapGrantRef,
  decodeVaddr,
  GNTDEV_GET_OFFSET_FOR_VADDR,
  GNTDEV_MAP_GRANT_REF,
  GNTDEV_SET_UNMAP_NOTIFY,
  GNTDEV_UNMAP_GRANT_REF,
  writeMapGrantRefIndex,
} from '../abi/gntdev.ts'
import { MAP_SHARED, MAP_TYPE, PROT_WRITE } from '../abi/mman.ts'
import { ClosedError, type ErrorFacts, XenError } from '../base/errors.ts'
import { mmapRefusal } from '../kernel/mmap-refusal.ts'
import { writeMemory } from '../native/mappings.ts'
import type { Address, Device, MmapOptions, Readiness, Result } from '../platform.ts'
import { decodeRuns } from './chunk-cache.ts'
import type { EventClient } from './event-client.ts'
import { gather, gatherCopy, isCopy } from './gather.ts'
import type { HostPlatform } from './host-platform.ts'
import { QUEUED_PAGES_MAX } from './limits.ts'
import type { OpenFile } from './open-file.ts'
import { nextMappingStart } from './own-maps.ts'
import { encodeRanges, type MemoryRange } from './snapshot.ts'
import { BOUND, type BodyReader, type BodyWriter, OP } from './wire.ts'

const NO_BYTES = new Uint8Array(0)

/** Where an argument given as bytes lies for the host: above all of user space. */
const ARGUMENT_ADDRESS = 2 ** 48

/** How long a blocking read sleeps before it looks whether the host still lives. */
const BLOCKING_READ_TURN_MS = 500

/** A descriptor of a device of the simulated machine. */
export class HostDevice implements Device {
  readonly name: DeviceName
  readonly fd: number
  readonly #platform: HostPlatform
  readonly #file: OpenFile
  #isClosed = false

  constructor(platform: HostPlatform, file: OpenFile, fd: number) {
    this.#platform = platform
    this.#file = file
    this.name = file.name
    this.fd = fd
    file.opened()
  }

  ioctl(number: number, argument?: Uint8Array | Address): Result {
    this.#assertOpen()
    if (typeof argument === 'number') return this.#ioctlAt(number, argument)
    const given = argument ?? NO_BYTES
    const { events } = this.#file
    if (events && number === EVTCHN_NOTIFY && given.byteLength >= PORT_SIZE) {
      // What arrived here makes no difference to what leaves: nothing is read before it.
      if (this.#platform.socket.isDead) return -ERRNO.EHOSTDOWN
      return events.notify(this.fd, decodeU32(given))
    }
    const size = argumentSize(this.name, number, given)
    if (given.length < size) {
      throw new RangeError(
        `${ioctlName(this.name, number)} touches ${size} bytes, the buffer has ${given.length}`,
      )
    }
    if (number === GNTDEV_GET_OFFSET_FOR_VADDR && this.name === 'gntdev') {
      if (!this.#reachesDevice(decodeVaddr(given))) return -ERRNO.EINVAL
    }
    if (this.#foresee(number, given.length === size ? given : given.subarray(0, size))) return 0
    const ranges: MemoryRange[] =
      size === 0 ? [] : [{ address: ARGUMENT_ADDRESS, bytes: given, writable: true }]
    if (isCopy(this.name, number)) ranges.unshift(...gatherCopy(given))
    return this.#call(number, ARGUMENT_ADDRESS, ranges, given)
  }

  mmap(options: MmapOptions): Address | Result {
    this.#assertOpen()
    const { memory, socket, kind } = this.#platform
    const { allocations, maps, access } = this.#file
    const isPlain = (options.flags & MAP_TYPE) === MAP_SHARED && options.at === undefined
    const own =
      isPlain && access === 'readwrite' && !socket.isDead && this.#platform.mayQueue
        ? allocations?.find(options.offset, options.length)
        : undefined
    if (own) return memory.mmapOwn(this.fd, options, own)
    const isReadonlyHvm =
      this.name === 'gntdev' && kind === 'hvm' && (options.prot & PROT_WRITE) === 0
    const result = memory.mmapDevice(this.fd, options, maps?.find(options.offset), isReadonlyHvm)
    const { at, length } = options
    if (result >= 0 || result === -ERRNO.ENOMEM || at === undefined || socket.isDead) return result
    // What lay there went before the driver was asked.
    if (this.#reachesDriver(options)) memory.forget(at, length)
    return result
  }

  #reachesDriver(options: MmapOptions): boolean {
    const { access } = this.#file
    const [canRead, canWrite] = [access !== 'write', access !== 'read']
    const file = { canRead, canWrite, isMappable: this.name !== 'evtchn' }
    return mmapRefusal({ address: options.at ?? 0, ...options }, file) === 0
  }

  read(into: Uint8Array): Result {
    this.#assertOpen()
    const { events, access, nonblock } = this.#file
    if (access === 'write') return -ERRNO.EBADF
    if (!events) return -ERRNO.EINVAL
    for (;;) {
      if (this.#platform.socket.isDead) return -ERRNO.EHOSTDOWN
      events.drain()
      const result = events.ring.read(into)
      if (result !== -ERRNO.EAGAIN || nonblock) return result
      const woken = events.block(BLOCKING_READ_TURN_MS)
      if (woken < 0 && woken !== -ERRNO.EINTR) return woken
    }
  }

  write(from: Uint8Array): Result {
    this.#assertOpen()
    const { events, access } = this.#file
    if (access === 'read') return -ERRNO.EBADF
    if (!events) return -ERRNO.EINVAL
    if (this.#platform.socket.isDead) return -ERRNO.EHOSTDOWN
    events.drain()
    const length = portBytes(from.byteLength)
    return events.ring.write(length < from.byteLength ? from.subarray(0, length) : from)
  }

  poll(): Readiness {
    this.#assertOpen()
    const { events } = this.#file
    if (!events) return { in: true, out: true, err: false }
    events.drain()
    const { isReadable, hasOverflowed } = events.ring
    return { in: isReadable, out: !hasOverflowed, err: hasOverflowed }
  }

  async ready(signal?: AbortSignal): Promise<void> {
    this.#assertOpen()
    signal?.throwIfAborted()
    if (this.#platform.socket.isDead) throw this.#down()
    const { in: readable, err } = this.poll()
    if (!readable && !err) await this.#file.waiters.wait(signal)
  }

  ref(): void {
    this.#file.ref(true)
  }

  unref(): void {
    this.#file.ref(false)
  }

  dup(): Device | Result {
    this.#assertOpen()
    const { socket } = this.#platform
    socket.begin(OP.dup).u32(this.fd)
    const { result } = socket.call()
    if (result < 0) return result
    return this.#platform.adopt(new HostDevice(this.#platform, this.#file, result))
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#platform.release(this)
    this.#platform.socket.begin(OP.close).u32(this.fd)
    this.#platform.socket.call()
    this.#file.closed()
  }

  explain(): ErrorFacts | undefined {
    const { socket } = this.#platform
    return socket.death ?? this.#platform.explanation(this.fd)
  }

  hostDied(): void {
    this.#file.waiters.fail(this.#down())
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new ClosedError(`/dev/xen/${this.name}`)
  }

  #down(): XenError {
    return new XenError(-ERRNO.EHOSTDOWN, `poll ${this.name}`, this.#platform.socket.death ?? {})
  }

  #ioctlAt(number: number, argument: Address): Result {
    if (this.name === 'gntdev' && number === GNTDEV_GET_OFFSET_FOR_VADDR) {
      const [head] = gather(this.name, number, argument)
      if (head && head.bytes.byteLength >= 8 && !this.#reachesDevice(decodeVaddr(head.bytes))) {
        return -ERRNO.EINVAL
      }
    }
    return this.#call(number, argument, gather(this.name, number, argument))
  }

  #call(
    number: number,
    argument: Address,
    ranges: readonly MemoryRange[],
    given?: Uint8Array,
  ): Result {
    const { events } = this.#file
    events?.drain()
    if (events && (number === EVTCHN_NOTIFY || number === EVTCHN_RESET)) {
      if (this.#platform.socket.isDead) return -ERRNO.EHOSTDOWN
      return this.#local(number, ranges)
    }
    const { socket, memory } = this.#platform
    this.#encodeIoctl(socket.begin(OP.ioctl), number, argument, ranges)
    const reply = socket.call()
    const { result, body } = reply
    if (result === -ERRNO.EHOSTDOWN && socket.isDead) return result
    for (let left = body.u32(); left > 0; left--) store(body, given)
    // Chunks of new read-only grants: our own mapping of them must come before their seal.
    const fresh = body.u32()
    for (let i = 0; i < fresh; i++) memory.chunks.expect(body.u32())
    if (result === 0) this.#learn(number, ranges[0]?.bytes, body)
    const bound = events ? body.u32() : BOUND.nothing
    if (events && bound !== BOUND.nothing) {
      const port = number === EVTCHN_BIND_STATIC ? firstWord(ranges) : (reply.lost ?? result)
      if (reply.lost !== undefined) {
        // Bound there, without a way to hear of it here.
        const bytes = encodeU32(port)
        const range = { address: ARGUMENT_ADDRESS, bytes, writable: true }
        this.#call(EVTCHN_UNBIND, ARGUMENT_ADDRESS, [range])
        return result
      }
      events.bound(port, reply, bound === BOUND.raised)
    } else if (events && number === EVTCHN_UNBIND && result === 0) events.unbound(firstWord(ranges))
    if (fresh > 0) memory.chunks.prepare()
    return result
  }

  /**
   * Calls whose answer follows from what this descriptor did before, and which no event follows:
   * they are queued. Anything less plain is asked.
   */
  #foresee(number: number, given: Uint8Array): boolean {
    const { allocations, maps } = this.#file
    const { socket } = this.#platform
    if (socket.isDead) return false
    if (allocations && number === GNTALLOC_DEALLOC_GREF) {
      const { index, count } = decodeDeallocGref(given)
      if (!allocations.endsQuietly(index, count)) return false
      allocations.released(index, count)
      this.#queueIoctl(number, given)
      return true
    }
    if (!maps) return false
    if (number === GNTDEV_MAP_GRANT_REF) {
      const count = decodeMapGrantRefCount(given)
      const { gntdevLimit, mayQueue } = this.#platform
      if (count === 0 || count > gntdevLimit || !mayQueue) return false
      if (count > QUEUED_PAGES_MAX) return false
      const index = maps.book(count)
      socket.begin(OP.book).u32(this.fd).u64(index).bytes(given)
      socket.queue()
      writeMapGrantRefIndex(given, index)
      return true
    }
    if (number !== GNTDEV_UNMAP_GRANT_REF) return false
    const { index, count } = decodeUnmapGrantRef(given)
    if (!maps.endsQuietly(index, count)) return false
    maps.unbooked(index)
    this.#queueIoctl(number, given)
    return true
  }

  #queueIoctl(number: number, argument: Uint8Array): void {
    const range = { address: ARGUMENT_ADDRESS, bytes: argument, writable: true }
    const { socket } = this.#platform
    this.#encodeIoctl(socket.begin(OP.ioctl), number, ARGUMENT_ADDRESS, [range])
    socket.queue()
  }

  /** A call that was asked has succeeded: what follows from it for those that are not. */
  #learn(number: number, argument: Uint8Array | undefined, body: BodyReader): void {
    const { allocations, maps } = this.#file
    if (!argument) return
    if (allocations && number === GNTALLOC_ALLOC_GREF) {
      const index = body.u64()
      allocations.allocated(index, decodeRuns(body))
    } else if (allocations && number === GNTALLOC_DEALLOC_GREF) {
      const { index, count } = decodeDeallocGref(argument)
      allocations.released(index, count)
    } else if (allocations && number === GNTALLOC_SET_UNMAP_NOTIFY) {
      allocations.armed(decodeUnmapNotify(argument).index)
    } else if (maps && number === GNTDEV_MAP_GRANT_REF) maps.book(decodeMapGrantRefCount(argument))
    else if (maps && number === GNTDEV_UNMAP_GRANT_REF) {
      maps.unbooked(decodeUnmapGrantRef(argument).index)
    } else if (maps && number === GNTDEV_SET_UNMAP_NOTIFY) {
      maps.armed(decodeUnmapNotify(argument).index)
    }
  }

  #encodeIoctl(
    request: BodyWriter,
    number: number,
    argument: Address,
    ranges: readonly MemoryRange[],
  ): void {
    request
      .u32(this.fd)
      .u32(number >>> 0)
      .u64(argument)
    encodeRanges(request, ranges)
  }

  /** The two calls that never reach the host. */
  #local(number: number, ranges: readonly MemoryRange[]): Result {
    const events = this.#file.events as EventClient
    if (number === EVTCHN_RESET) {
      events.ring.reset()
      return 0
    }
    if ((ranges[0]?.bytes.byteLength ?? 0) < 4) return -ERRNO.EFAULT
    return events.notify(this.fd, firstWord(ranges))
  }

  /**
   * GET_OFFSET_FOR_VADDR looks at the first mapping of the process that ends above the address. The
   * host knows only those of the devices; whether another one lies before them, this process knows.
   */
  #reachesDevice(vaddr: Address): boolean {
    const { memory } = this.#platform
    if (memory.isDevice(vaddr)) return true
    const start = nextMappingStart(vaddr)
    return start !== undefined && memory.isDevice(Math.max(start, vaddr))
  }
}

/** A driver's store: into the argument that was given as bytes, or at an address. */
function store(body: BodyReader, given: Uint8Array | undefined): void {
  const address = body.u64()
  if (given && address >= ARGUMENT_ADDRESS) body.into(given, address - ARGUMENT_ADDRESS)
  else writeMemory(address, body.bytes())
}

/** The u32 that an event channel's call takes first. */
function firstWord(ranges: readonly MemoryRange[]): number {
  const bytes = ranges[0]?.bytes
  return bytes && bytes.byteLength >= 4 ? decodeU32(bytes) : 0
}
