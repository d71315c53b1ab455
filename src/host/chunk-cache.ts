import { MAP_FIXED, MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { close } from '../native/files.ts'
import { MREMAP_FIXED, MREMAP_MAYMOVE, mmap, mprotect, mremap, munmap } from '../native/mappings.ts'
import type { CallSocket } from './call-socket.ts'
import { IDLE_CHUNKS_MAX } from './limits.ts'
import { type BodyReader, OP } from './wire.ts'

/** A chunk whose descriptor we hold. */
interface CachedChunk {
  readonly id: number
  readonly fd: number
  readonly pages: number
  /** Our own read-only grants: the file is sealed, so writable mappings are copies of this one. */
  readonly hidden: number | undefined
  users: number
}

/** Pages one behind the other in a chunk; chunk 0 is pages that the kernel has not there. */
export interface PageRun {
  readonly chunk: number
  readonly slot: number
  readonly count: number
}

/** The chunks of which this process maps pages, with their descriptors. */
export class ChunkCache {
  readonly #socket: CallSocket
  readonly #chunks = new Map<number, CachedChunk>()
  /** Chunks to be mapped once the call is over that told of them. */
  readonly #expected: number[] = []

  constructor(socket: CallSocket) {
    this.#socket = socket
  }

  /** The host has a chunk of our read-only grants that it may not seal yet: see {@link prepare}. */
  expect(id: number): void {
    this.#expected.push(id)
  }

  /** Makes our own writable mappings of expected chunks and tells the host, which may seal them. */
  prepare(): void {
    for (const id of this.#expected.splice(0)) {
      if (typeof this.#fetch(id) === 'number') continue
      this.#socket.begin(OP.chunkMapped).u32(id)
      this.#socket.call()
    }
  }

  /**
   * Maps runs over [address, …), which is ours to replace; adds the chunks used to `used`. Answers
   * 0, or -errno with what was mapped left for the caller to remove.
   */
  map(address: number, runs: readonly PageRun[], prot: number, used: number[]): number {
    let at = address
    for (const run of runs) {
      const result = run.chunk === 0 ? 0 : this.mapRun(at, MAP_FIXED, run, prot, used)
      if (result < 0) return result
      at += run.count * PAGE_SIZE
    }
    return 0
  }

  /** Maps one run at an address, or with 0 for both anywhere. Answers the address, or -errno. */
  mapRun(at: number, fixed: number, run: PageRun, prot: number, used: number[]): number {
    const chunk = this.#fetch(run.chunk)
    if (typeof chunk === 'number') return chunk
    const length = run.count * PAGE_SIZE
    const offset = run.slot * PAGE_SIZE
    let result: number
    if (chunk.hidden === undefined) {
      result = mmap(at, length, prot, MAP_SHARED | fixed, chunk.fd, offset)
    } else {
      // A sealed file takes no new writable mapping, but an old size of 0 duplicates an old one.
      const placing = fixed === 0 ? 0 : MREMAP_FIXED
      result = mremap(chunk.hidden + offset, 0, length, MREMAP_MAYMOVE | placing, at)
      if (result >= 0 && (prot & PROT_WRITE) === 0) mprotect(result, length, prot)
    }
    if (result < 0) return result
    chunk.users++
    used.push(chunk.id)
    return result
  }

  /** Mappings that used these chunks are gone. */
  release(ids: readonly number[]): void {
    for (const id of ids) {
      const chunk = this.#chunks.get(id)
      if (chunk) chunk.users--
    }
    if (this.#chunks.size > IDLE_CHUNKS_MAX) this.#sweep()
  }

  close(): void {
    for (const chunk of this.#chunks.values()) this.#drop(chunk)
  }

  #fetch(id: number): CachedChunk | number {
    const known = this.#chunks.get(id)
    if (known) return known
    this.#socket.begin(OP.chunk).u32(id)
    const { result, body, fds } = this.#socket.call()
    const fd = fds[0]
    if (result < 0 || fd === undefined) return Math.min(result, -1)
    const pages = body.u32()
    const isWritable = body.u32() !== 0
    const isGranter = body.u32() !== 0
    let hidden: number | undefined
    if (isGranter && !isWritable) {
      const address = mmap(0, pages * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
      if (address >= 0) hidden = address
    }
    const chunk: CachedChunk = { id, fd, pages, hidden, users: 0 }
    this.#chunks.set(id, chunk)
    return chunk
  }

  /** Lets idle chunks go; the only writable mapping of a sealed one stays while the host has it. */
  #sweep(): void {
    for (const chunk of [...this.#chunks.values()]) {
      if (this.#chunks.size <= IDLE_CHUNKS_MAX) return
      if (chunk.users > 0) continue
      if (chunk.hidden !== undefined && this.#isAtHost(chunk.id)) continue
      this.#drop(chunk)
    }
  }

  #isAtHost(id: number): boolean {
    this.#socket.begin(OP.chunk).u32(id)
    const { result, fds } = this.#socket.call()
    for (const fd of fds) close(fd)
    return result >= 0
  }

  #drop(chunk: CachedChunk): void {
    this.#chunks.delete(chunk.id)
    if (chunk.hidden !== undefined) munmap(chunk.hidden, chunk.pages * PAGE_SIZE)
    close(chunk.fd)
  }
}

/** Pages as the host names them. */
export function decodeRuns(body: BodyReader): PageRun[] {
  const runs: PageRun[] = []
  for (let left = body.u32(); left > 0; left--) {
    runs.push({ chunk: body.u32(), slot: body.u32(), count: body.u32() })
  }
  return runs
}

/** Pages of all runs. */
export function countPages(runs: readonly PageRun[]): number {
  let pages = 0
  for (const run of runs) pages += run.count
  return pages
}
