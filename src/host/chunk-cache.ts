import { MAP_FIXED, MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { close } from '../native/files.ts'
import { MREMAP_FIXED, MREMAP_MAYMOVE, mmap, mprotect, mremap, munmap } from '../native/mappings.ts'
import type { CallSocket } from './call-socket.ts'
import { IDLE_CHUNKS_MAX } from './limits.ts'
import { type BodyReader, BodyWriter, OP } from './wire.ts'

/** A chunk whose descriptor we hold. */
interface CachedChunk {
  readonly id: number
  readonly fd: number
  readonly pages: number
  /** Our own read-only grants: the file is sealed, so writable mappings are copies of this one. */
  readonly hidden: number | undefined
  users: number
}

/** A page of a chunk; chunk 0 is a page that the kernel has not there. */
export interface PagePlace {
  readonly chunk: number
  readonly slot: number
}

/** The chunks of which this process maps pages, with their descriptors. */
export class ChunkCache {
  readonly #socket: CallSocket
  readonly #chunks = new Map<number, CachedChunk>()

  constructor(socket: CallSocket) {
    this.#socket = socket
  }

  /**
   * Makes our own writable mapping of a chunk of read-only grants and tells the host, which may
   * seal it from then on. Answers 0 or -errno.
   */
  prepare(id: number): number {
    const chunk = this.#fetch(id)
    if (typeof chunk === 'number') return chunk
    return this.#socket.call(OP.chunkMapped, new BodyWriter().u32(id).finish()).result
  }

  /**
   * Maps pages over [address, …), which is ours to replace; adds the chunks used to `used`. Answers
   * 0, or -errno with what was mapped left for the caller to remove.
   */
  map(address: number, places: readonly PagePlace[], prot: number, used: number[]): number {
    for (let i = 0; i < places.length; ) {
      const { chunk: id, slot } = places[i] as PagePlace
      const run = runAt(places, i)
      const result = id === 0 ? 0 : this.#mapRun(id, slot, run, address + i * PAGE_SIZE, prot)
      if (result < 0) return result
      if (id !== 0) used.push(id)
      i += run
    }
    return 0
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

  #mapRun(id: number, slot: number, pages: number, at: number, prot: number): number {
    const chunk = this.#fetch(id)
    if (typeof chunk === 'number') return chunk
    const length = pages * PAGE_SIZE
    const offset = slot * PAGE_SIZE
    let result: number
    if (chunk.hidden === undefined) {
      result = mmap(at, length, prot, MAP_SHARED | MAP_FIXED, chunk.fd, offset)
    } else {
      // A sealed file takes no new writable mapping, but an old size of 0 duplicates an old one.
      result = mremap(chunk.hidden + offset, 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, at)
      if (result >= 0 && (prot & PROT_WRITE) === 0) mprotect(at, length, prot)
    }
    if (result < 0) return result
    chunk.users++
    return 0
  }

  #fetch(id: number): CachedChunk | number {
    const known = this.#chunks.get(id)
    if (known) return known
    const { result, body, fds } = this.#socket.call(OP.chunk, new BodyWriter().u32(id).finish())
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
    const { result, fds } = this.#socket.call(OP.chunk, new BodyWriter().u32(id).finish())
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
export function decodePlaces(body: BodyReader): PagePlace[] {
  return Array.from({ length: body.u32() }, () => ({ chunk: body.u32(), slot: body.u32() }))
}

/** Runs of pages that lie one behind the other in a chunk: a kernel mapping each. */
export function countRuns(places: readonly PagePlace[]): number {
  let runs = 0
  for (let i = 0; i < places.length; i += runAt(places, i)) runs++
  return runs
}

function runAt(places: readonly PagePlace[], i: number): number {
  const { chunk, slot } = places[i] as PagePlace
  let run = 1
  while (i + run < places.length) {
    const next = places[i + run] as PagePlace
    if (next.chunk !== chunk || next.slot !== slot + run) break
    run++
  }
  return run
}
