import { ERRNO } from '../abi/errno.ts'
import { PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE, pagesOf } from '../abi/page.ts'
import { type Interval, IntervalList } from '../memory/intervals.ts'
import { Ranges } from '../memory/ranges.ts'
import type { Address, Memory, MmapOptions, Result } from '../platform.ts'
import type { CallSocket } from './call-socket.ts'
import { ChunkCache, countPages, decodeRuns, type PageRun } from './chunk-cache.ts'
import { type Allocation, type BookedMap, endsQuietly } from './grant-mirror.ts'
import { NOWHERE, OP } from './wire.ts'

/** A device's mapping in this process: the chunks it shows, until its last page is gone. */
interface Mapping {
  readonly chunks: readonly number[]
  pages: number
  /** What is mapped, where this process knows all about it. */
  readonly own: Allocation | undefined
  readonly booked: BookedMap | undefined
  /** A read-only grant of HVM: once it is made writable, Xen discards what is stored there. */
  readonly isReadonlyHvm: boolean
  discardsStores: boolean
}

/** Addresses that show a mapping, or what is left of one. */
interface MappedRange extends Interval {
  readonly mapping: Mapping
}

/**
 * The memory of a client: real addresses of this process. What the devices map is a run of memfd
 * pages that the host names; what changes there is told to the host, which keeps this process's
 * mappings as a kernel would.
 */
export class HostMemory implements Memory {
  readonly ranges: Ranges = new Ranges()
  readonly chunks: ChunkCache
  readonly #socket: CallSocket
  readonly #devices = new IntervalList<MappedRange>()

  constructor(socket: CallSocket) {
    this.#socket = socket
    this.chunks = new ChunkCache(socket)
  }

  alloc(length: number, at?: Address): Address | Result {
    if (at !== undefined) {
      const result = this.#leave(at, length)
      if (result < 0) return result
    }
    return this.ranges.alloc(length, at)
  }

  munmap(address: Address, length: number): Result {
    const result = this.ranges.munmap(address, length)
    return result < 0 ? result : this.#leave(address, length)
  }

  protect(address: Address, length: number, prot: number): Result {
    if (!this.#overlaps(address, address + length)) {
      return this.ranges.protect(address, length, prot)
    }
    this.#socket.begin(OP.protect).u64(address).u64(length).u32(prot)
    const { result, body } = this.#socket.call()
    if (result < 0) return result
    for (let left = body.u32(); left > 0; left--) {
      // The kernel took this page away: nobody's memory is there now.
      this.ranges.alloc(PAGE_SIZE, body.u64())
    }
    return this.#protectPages(address, address + pagesOf(length) * PAGE_SIZE, prot)
  }

  view(address: Address, length: number): Uint8Array {
    const bytes = this.ranges.view(address, length)
    // Real memory has no pages where stores are lost: a copy is the nearest.
    return this.#devices.at(address)?.mapping.discardsStores ? bytes.slice() : bytes
  }

  addressOf(view: Uint8Array): Address {
    return this.ranges.addressOf(view)
  }

  /** Whether an address lies in a mapping of a device. */
  isDevice(address: Address): boolean {
    return this.#devices.at(address) !== undefined
  }

  /** mmap of a device: the host's driver decides, and names the pages. */
  mmapDevice(
    fd: number,
    { offset, length, prot, flags, at }: MmapOptions,
    booked: BookedMap | undefined,
    isReadonlyHvm: boolean,
  ): Address | Result {
    const bytes = pagesOf(length) * PAGE_SIZE
    const request = this.#socket.begin(OP.mmap).u32(fd)
    request
      .u64(at ?? NOWHERE)
      .u64(offset)
      .u64(length)
      .u32(prot)
      .u32(flags)
    const { result, body } = this.#socket.call()
    if (result < 0) return result
    if (at !== undefined) this.#forget(at, at + bytes)
    const runs = decodeRuns(body)
    const chunks: number[] = []
    const address = this.#mapRuns(bytes, at, runs, prot, chunks)
    if (address < 0) {
      this.chunks.release(chunks)
      if (at !== undefined) this.ranges.munmap(at, bytes)
      this.#tellUnmapped(at ?? NOWHERE, bytes)
      return address
    }
    const pages = countPages(runs)
    const discardsStores = false
    const mapping = { chunks, pages, own: undefined, booked, isReadonlyHvm, discardsStores }
    this.#devices.insert({ start: address, end: address + bytes, mapping })
    if (at !== undefined) return address
    this.#socket.begin(OP.place).u64(NOWHERE).u64(bytes).u64(address)
    this.#socket.queue()
    return address
  }

  /** The same for an allocation of our own, whose pages we know: the host is told later. */
  mmapOwn(fd: number, { offset, length, prot, flags }: MmapOptions, own: Allocation): Result {
    const bytes = own.count * PAGE_SIZE
    const chunks: number[] = []
    const address = this.#mapRuns(bytes, undefined, own.runs, prot, chunks)
    if (address < 0) {
      this.chunks.release(chunks)
      return address
    }
    const [pages, isReadonlyHvm, discardsStores] = [own.count, false, false]
    const mapping = { chunks, pages, own, booked: undefined, isReadonlyHvm, discardsStores }
    this.#devices.insert({ start: address, end: address + bytes, mapping })
    const request = this.#socket.begin(OP.mmap).u32(fd).u64(address).u64(offset)
    request.u64(length).u32(prot).u32(flags)
    this.#socket.queue()
    return address
  }

  /** What lay there is gone, and the host knows: its kernel made room for a refused mapping. */
  forget(address: Address, length: number): void {
    const bytes = pagesOf(length) * PAGE_SIZE
    this.#forget(address, address + bytes)
    this.ranges.munmap(address, bytes)
  }

  close(): void {
    this.ranges.close()
    this.chunks.close()
  }

  /** Maps pages as one range: a single run by one mmap, several over a range that is held. */
  #mapRuns(
    bytes: number,
    at: Address | undefined,
    runs: readonly PageRun[],
    prot: number,
    used: number[],
  ): Address | Result {
    const [only] = runs
    if (only && runs.length === 1 && only.chunk !== 0) {
      return this.ranges.mapOne(bytes, { prot, at }, (spot, fixed) =>
        this.chunks.mapRun(spot, fixed, only, prot, used),
      )
    }
    return this.ranges.mapBy(bytes, runs.length, { prot, at }, start =>
      this.chunks.map(start, runs, prot, used),
    )
  }

  /** mprotect of pages that are there; a read-only grant of HVM never becomes writable in truth. */
  #protectPages(start: Address, end: Address, prot: number): Result {
    for (let at = start; at < end; ) {
      const next = this.#devices.endingAfter(at)
      const mapping = next && next.start <= at ? next.mapping : undefined
      const stop = Math.min(end, (mapping ? next?.end : next?.start) ?? end)
      const discards = mapping?.isReadonlyHvm === true && (prot & PROT_WRITE) !== 0
      if (mapping) mapping.discardsStores = discards
      const result = this.ranges.protect(at, stop - at, discards ? PROT_READ : prot)
      if (result < 0) return result
      at = stop
    }
    return 0
  }

  /** Tells the host that a run is no longer mapped here, if any of it was a device's. */
  #leave(address: Address, length: number): Result {
    const end = address + pagesOf(length) * PAGE_SIZE
    if (!this.#overlaps(address, end)) return 0
    const isQuiet = this.#endsQuietly(address, end)
    this.#forget(address, end)
    if (isQuiet) {
      this.#beginMunmap(address, end - address)
      this.#socket.queue()
      return 0
    }
    const result = this.#tellUnmapped(address, end - address)
    // The pages are gone from here whether or not somebody is there to be told.
    return result === -ERRNO.EHOSTDOWN ? 0 : result
  }

  #tellUnmapped(address: Address, bytes: number): Result {
    this.#beginMunmap(address, bytes)
    return this.#socket.call().result
  }

  #beginMunmap(address: Address, bytes: number): void {
    this.#socket.begin(OP.munmap).u64(address).u64(bytes)
  }

  #overlaps(start: Address, end: Address): boolean {
    const first = this.#devices.endingAfter(start)
    return first !== undefined && first.start < end
  }

  /** Whether a run is exactly one mapping, and no event follows when that ends. */
  #endsQuietly(start: Address, end: Address): boolean {
    const range = this.#devices.at(start)
    if (range?.start !== start || range.end !== end) return false
    const { own, booked } = range.mapping
    // The descriptor still holds an allocation that is whole.
    if (own?.isWhole) return true
    const mapped = own ?? booked
    return mapped !== undefined && endsQuietly(mapped)
  }

  #forget(start: Address, end: Address): void {
    for (const { start: from, end: to, mapping } of this.#devices.cut(start, end)) {
      mapping.pages -= (Math.min(to, end) - Math.max(from, start)) / PAGE_SIZE
      if (mapping.pages > 0) continue
      this.chunks.release(mapping.chunks)
    }
  }
}
