import { PAGE_SHIFT, PAGE_SIZE } from '../abi/page.ts'
import type { Frame, PagePlacement, PageStore } from '../hypervisor/page-store.ts'
import { CHUNK_PAGES } from './limits.ts'
import { type Memfd, sealedMemfd } from './memfd.ts'

/**
 * A chunk: a memfd of pages of one granting process for one grantee with one right, so that nobody
 * ever receives a descriptor of a page that was meant for another.
 *
 *     frame number  =  first + slot
 *
 *      slot 0    1    2                 highWater                 pages
 *     +--------+----+----+--- … ---+----+--------------- … ------+
 *     | page   | page used or freed     |  never handed out      |
 *     +--------+----+----+--- … ---+----+--------------- … ------+
 */
export interface Chunk {
  readonly id: number
  readonly first: Frame
  readonly pages: number
  readonly memfd: Memfd
  readonly placement: PagePlacement
  /** Freed slots, last in first out. */
  readonly free: number[]
  highWater: number
  used: number
  /** A grantee has the descriptor, so it can write to every page, used or not. */
  isShared: boolean
  /** The granter has its own writable mapping, which a seal would forbid later. */
  isGranterMapped: boolean
  /** Its process is gone: no page of it is handed out again. */
  isRetired: boolean
}

/** The memory of the simulated machine: chunks, made when needed, gone when empty and retired. */
export class ChunkStore implements PageStore {
  readonly #chunks = new Map<number, Chunk>()
  /** By frame number over CHUNK_PAGES; a larger chunk takes several places. */
  readonly #byFrame: (Chunk | undefined)[] = []
  readonly #freePlaces: number[] = []
  /** Chunks with room, by granting process and then by grantee and right. */
  readonly #open = new Map<object, Map<string, Chunk[]>>()
  #unmapped: Chunk[] = []
  #nextId = 1

  get size(): number {
    return this.#chunks.size
  }

  chunk(id: number): Chunk | undefined {
    return this.#chunks.get(id)
  }

  chunkOf(frame: Frame): Chunk {
    const chunk = this.#byFrame[Math.floor(frame / CHUNK_PAGES)]
    if (!chunk) throw new RangeError(`frame ${frame} is in no chunk`)
    return chunk
  }

  allocate(count: number, placement: PagePlacement): Frame[] | undefined {
    const frames: Frame[] = []
    while (frames.length < count) {
      const missing = count - frames.length
      const chunk = this.#withRoom(missing, placement)
      if (!chunk) {
        for (const frame of frames) this.free(frame)
        return undefined
      }
      this.#take(chunk, missing, frames)
    }
    return frames
  }

  free(frame: Frame): void {
    const chunk = this.chunkOf(frame)
    const isLarge = chunk.pages > CHUNK_PAGES
    if (isFull(chunk) && !chunk.isRetired && !isLarge) this.#listOf(chunk.placement).push(chunk)
    chunk.free.push(frame - chunk.first)
    chunk.used--
    // A large chunk was made for one ALLOC and goes with it; an ordinary one waits for the next.
    if (chunk.used === 0 && (chunk.isRetired || isLarge)) this.#destroy(chunk)
  }

  clearByte(frame: Frame, offset: number): void {
    const chunk = this.chunkOf(frame)
    chunk.memfd.bytes[this.#offset(chunk, frame) + offset] = 0
  }

  read(frame: Frame, offset: number, length: number): Uint8Array {
    const chunk = this.chunkOf(frame)
    const at = this.#offset(chunk, frame) + offset
    return chunk.memfd.bytes.slice(at, at + length)
  }

  write(frame: Frame, offset: number, bytes: Uint8Array): void {
    const chunk = this.chunkOf(frame)
    chunk.memfd.bytes.set(bytes, this.#offset(chunk, frame) + offset)
  }

  /** Chunks of read-only grants that their own process has yet to map. */
  unmappedOf(process: object): number[] {
    return this.#unmapped.filter(chunk => chunk.placement.process === process).map(({ id }) => id)
  }

  /** Their process has mapped it: from now on it may be sealed and shown to its grantee. */
  setGranterMapped(chunk: Chunk): void {
    chunk.isGranterMapped = true
    this.#unmapped = this.#unmapped.filter(other => other !== chunk)
  }

  /** Domids come back, so what a dead process granted never mixes with what another grants. */
  retire(process: object): void {
    this.#open.delete(process)
    for (const chunk of [...this.#chunks.values()]) {
      if (chunk.placement.process !== process) continue
      chunk.isRetired = true
      if (chunk.used === 0) this.#destroy(chunk)
    }
  }

  close(): void {
    for (const chunk of [...this.#chunks.values()]) this.#destroy(chunk)
  }

  #offset(chunk: Chunk, frame: Frame): number {
    return (frame - chunk.first) * PAGE_SIZE
  }

  #withRoom(count: number, placement: PagePlacement): Chunk | undefined {
    const chunks = this.#listOf(placement)
    // Full chunks leave the list here and come back when a page of theirs is freed.
    while (chunks.length > 0 && isFull(chunks[chunks.length - 1] as Chunk)) chunks.pop()
    const found = chunks.at(-1)
    if (found && count <= CHUNK_PAGES) return found
    const created = this.#create(Math.max(count, CHUNK_PAGES), placement)
    if (created && created.pages === CHUNK_PAGES) chunks.push(created)
    return created
  }

  #listOf(placement: PagePlacement): Chunk[] {
    const key = `${placement.grantee}:${placement.writable ? 'w' : 'r'}`
    let ofProcess = this.#open.get(placement.process)
    if (!ofProcess) {
      ofProcess = new Map()
      this.#open.set(placement.process, ofProcess)
    }
    let chunks = ofProcess.get(key)
    if (!chunks) {
      chunks = []
      ofProcess.set(key, chunks)
    }
    return chunks
  }

  #take(chunk: Chunk, count: number, into: Frame[]): void {
    for (let i = 0; i < count; i++) {
      let slot = chunk.free.pop()
      let isClean = false
      if (slot === undefined) {
        if (chunk.highWater === chunk.pages) return
        slot = chunk.highWater++
        isClean = !chunk.isShared
      }
      const at = slot << PAGE_SHIFT
      if (!isClean) chunk.memfd.bytes.fill(0, at, at + PAGE_SIZE)
      chunk.used++
      into.push(chunk.first + slot)
    }
  }

  #create(pages: number, placement: PagePlacement): Chunk | undefined {
    const memfd = sealedMemfd('interdom-chunk', pages * PAGE_SIZE)
    if (typeof memfd === 'number') return undefined
    const places = Math.ceil(pages / CHUNK_PAGES)
    const place =
      places === 1 ? (this.#freePlaces.pop() ?? this.#byFrame.length) : this.#byFrame.length
    const chunk: Chunk = {
      id: this.#nextId++,
      first: place * CHUNK_PAGES,
      pages,
      memfd,
      placement,
      free: [],
      highWater: 0,
      used: 0,
      isShared: false,
      isGranterMapped: false,
      isRetired: false,
    }
    for (let i = 0; i < places; i++) this.#byFrame[place + i] = chunk
    this.#chunks.set(chunk.id, chunk)
    if (!placement.writable) this.#unmapped.push(chunk)
    return chunk
  }

  #destroy(chunk: Chunk): void {
    const place = chunk.first / CHUNK_PAGES
    for (let i = 0; i < Math.ceil(chunk.pages / CHUNK_PAGES); i++) {
      this.#byFrame[place + i] = undefined
      this.#freePlaces.push(place + i)
    }
    this.#chunks.delete(chunk.id)
    this.#unmapped = this.#unmapped.filter(other => other !== chunk)
    chunk.memfd.close()
  }
}

function isFull(chunk: Chunk): boolean {
  return chunk.free.length === 0 && chunk.highWater === chunk.pages
}
