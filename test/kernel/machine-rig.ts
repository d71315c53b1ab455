import { expect } from 'vitest'
import type { DeviceName } from '../../src/abi/devices.ts'
import { ERRNO } from '../../src/abi/errno.ts'
import * as evtchn from '../../src/abi/evtchn.ts'
import * as gntalloc from '../../src/abi/gntalloc.ts'
import * as gntdev from '../../src/abi/gntdev.ts'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/abi/mman.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { ManualClock } from '../../src/base/clock.ts'
import {
  type Frame,
  type FrameRun,
  NO_FRAME,
  type PageStore,
} from '../../src/hypervisor/page-store.ts'
import { type DomainOptions, Machine, type MachineOptions } from '../../src/kernel/machine.ts'
import type { Process } from '../../src/kernel/process.ts'
import type { UserMemory } from '../../src/kernel/user-memory.ts'
import type { Access } from '../../src/platform.ts'

export const RW = PROT_READ | PROT_WRITE
export { PROT_READ, PROT_WRITE }

/** Pages as plain arrays; it knows which are out, and complains of a page freed twice. */
export class PlainPages implements PageStore {
  readonly #pages = new Map<Frame, Uint8Array>()
  #next = 0

  get inUse(): number {
    return this.#pages.size
  }

  allocate(count: number): FrameRun[] {
    const first = this.#next
    this.#next += count
    for (let i = 0; i < count; i++) this.#pages.set(first + i, new Uint8Array(PAGE_SIZE))
    return [{ first, count }]
  }

  free(first: Frame, count: number): void {
    for (let frame = first; frame < first + count; frame++) {
      if (!this.#pages.delete(frame)) throw new Error(`frame ${frame} is not in use`)
    }
  }

  clearByte(frame: Frame, offset: number): void {
    this.page(frame)[offset] = 0
  }

  read(frame: Frame, offset: number, length: number): Uint8Array {
    return this.page(frame).slice(offset, offset + length)
  }

  write(frame: Frame, offset: number, bytes: Uint8Array): void {
    this.page(frame).set(bytes, offset)
  }

  page(frame: Frame): Uint8Array {
    const page = this.#pages.get(frame)
    if (!page) throw new Error(`frame ${frame} was freed`)
    return page
  }
}

/** Where the one stretch of memory lies that drivers can reach here, and how long it is. */
export const ARENA = 0x10_0000
export const ARENA_SIZE = 0x4_0000

export class ArenaMemory implements UserMemory {
  readonly bytes = new Uint8Array(ARENA_SIZE)

  view(address: number, length: number): Uint8Array | undefined {
    return this.read(address, length)
  }

  read(address: number, length: number): Uint8Array | undefined {
    return this.canAccess(address, length) ? this.at(address, length).slice() : undefined
  }

  write(address: number, bytes: Uint8Array): boolean {
    if (!this.canAccess(address, bytes.byteLength)) return false
    this.at(address, bytes.byteLength).set(bytes)
    return true
  }

  canAccess(address: number, length: number): boolean {
    return address >= ARENA && address + length <= ARENA + ARENA_SIZE
  }

  at(address: number, length: number): Uint8Array {
    return this.bytes.subarray(address - ARENA, address - ARENA + length)
  }
}

/** A machine over plain pages, and processes that make typed calls. */
export class Rig {
  readonly clock = new ManualClock()
  readonly pages = new PlainPages()
  readonly machine: Machine
  #nextPid = 100

  constructor(options: Partial<MachineOptions> = {}) {
    this.machine = new Machine({ pages: this.pages, clock: this.clock, ...options })
  }

  /** A process of the domain, which is made on first use. */
  actor(domid = 1, options: DomainOptions = {}): Actor {
    const domain = this.machine.domain(domid) ?? this.machine.createDomain({ domid, ...options })
    return new Actor(this, domain.createProcess({ pid: this.#nextPid++ }))
  }

  /** Ends every process, lets the timers run, and finds nothing left. */
  finish(): void {
    for (const domain of this.machine.domains()) {
      for (const process of [...domain.processes]) process.kill()
    }
    this.clock.advance(1000)
    expect(this.machine.leftovers()).toEqual([])
    expect(this.pages.inUse).toBe(0)
  }
}

export class Actor {
  readonly rig: Rig
  readonly process: Process
  readonly memory: ArenaMemory
  /** Mappings are placed upwards, a page apart. */
  #place = 0x1000_0000

  constructor(rig: Rig, process: Process, memory: ArenaMemory = new ArenaMemory()) {
    this.rig = rig
    this.process = process
    this.memory = memory
  }

  get domid(): number {
    return this.process.domain.domid
  }

  open(device: DeviceName, access: Access = 'readwrite'): number {
    return this.process.open(device, { access, nonblock: true })
  }

  ioctl(fd: number, number: number, bytes: Uint8Array): number {
    this.memory.write(ARENA, bytes)
    const result = this.process.ioctl(fd, number, ARENA, this.memory)
    bytes.set(this.memory.at(ARENA, bytes.byteLength))
    return result
  }

  alloc(fd: number, count = 1, domid: number = this.domid, flags = 1): Allocated {
    const bytes = gntalloc.encodeAllocGref({ domid, flags, count })
    const result = this.ioctl(fd, gntalloc.GNTALLOC_ALLOC_GREF, bytes)
    return { result, ...gntalloc.decodeAllocGrefReply(bytes, result === 0 ? count : 0) }
  }

  dealloc(fd: number, index: number, count = 1): number {
    const bytes = gntalloc.encodeDeallocGref({ index, count })
    return this.ioctl(fd, gntalloc.GNTALLOC_DEALLOC_GREF, bytes)
  }

  notify(fd: number, index: number, action: number, port = 0): number {
    const bytes = gntalloc.encodeUnmapNotify({ index, action, port })
    return this.ioctl(fd, gntalloc.GNTALLOC_SET_UNMAP_NOTIFY, bytes)
  }

  map(fd: number, grants: gntdev.GrantName[]): { result: number; index: number } {
    const bytes = gntdev.encodeMapGrantRef(grants)
    const result = this.ioctl(fd, gntdev.GNTDEV_MAP_GRANT_REF, bytes)
    return { result, index: gntdev.decodeMapGrantRefIndex(bytes) }
  }

  unmap(fd: number, index: number, count = 1): number {
    const bytes = gntdev.encodeUnmapGrantRef({ index, count })
    return this.ioctl(fd, gntdev.GNTDEV_UNMAP_GRANT_REF, bytes)
  }

  /** The address, or `-errno`. */
  mmap(fd: number, index: number, options: MmapOptions = {}): number {
    const { count = 1, prot = RW, at = this.#nextPlace(count) } = options
    const request = { address: at, offset: index, length: count * PAGE_SIZE, prot }
    const result = this.process.mmap(fd, { ...request, flags: MAP_SHARED })
    return result < 0 ? result : at
  }

  #nextPlace(count: number): number {
    const at = this.#place
    this.#place += (count + 1) * PAGE_SIZE
    return at
  }

  /** MAP and mmap of one grant, which must both work. */
  mapped(fd: number, domid: number, ref: number, prot: number = RW): Mapped {
    const { result, index } = this.map(fd, [{ domid, ref }])
    expect(result).toBe(0)
    const address = this.mmap(fd, index, { prot })
    expect(address).toBeGreaterThan(0)
    return { index, address }
  }

  /** Whether the grant can be mapped now; leaves nothing behind. */
  canMap(domid: number, ref: number): boolean {
    const fd = this.open('gntdev')
    const { index } = this.map(fd, [{ domid, ref }])
    const address = this.mmap(fd, index)
    if (address > 0) this.process.munmap(address, PAGE_SIZE)
    this.process.close(fd)
    if (address < 0) expect(address).toBe(-ERRNO.EINVAL)
    return address > 0
  }

  munmap(address: number, count = 1): number {
    return this.process.munmap(address, count * PAGE_SIZE)
  }

  /** The page at an address of this process. */
  page(address: number): Uint8Array {
    const vma = this.process.vma(address)
    return this.rig.pages.page(vma?.frameAt(address) ?? NO_FRAME)
  }

  bindUnbound(fd: number, domid: number = this.domid): number {
    return this.ioctl(fd, evtchn.EVTCHN_BIND_UNBOUND_PORT, evtchn.encodeU32(domid))
  }

  bindInterdomain(fd: number, domid: number, port: number): number {
    const bytes = evtchn.encodeBindInterdomain(domid, port)
    return this.ioctl(fd, evtchn.EVTCHN_BIND_INTERDOMAIN, bytes)
  }

  /** A call that takes a port or another u32. */
  word(fd: number, number: number, word: number): number {
    return this.ioctl(fd, number, evtchn.encodeU32(word))
  }

  /** Ports that are readable now, taken out and written back. */
  events(fd: number): number[] {
    const bytes = new Uint8Array(4096)
    const result = this.process.read(fd, bytes)
    if (result === -ERRNO.EAGAIN) return []
    expect(result).toBeGreaterThan(0)
    const ports = bytes.subarray(0, result)
    expect(this.process.write(fd, ports)).toBe(result)
    return evtchn.decodePorts(ports)
  }

  /** A channel to ourselves, drained: what is sent on `port` is read as `far`. */
  channel(near: number, far: number): { port: number; far: number } {
    const port = this.bindUnbound(near)
    const other = this.bindInterdomain(far, this.domid, port)
    expect(this.events(far)).toEqual([other])
    return { port, far: other }
  }
}

export interface Allocated {
  readonly result: number
  readonly index: number
  readonly refs: number[]
}

export interface Mapped {
  readonly index: number
  readonly address: number
}

interface MmapOptions {
  readonly count?: number
  readonly prot?: number
  readonly at?: number
}
