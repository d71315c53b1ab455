import { errnoName } from '../abi/errno.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { ErrorFacts } from '../base/errors.ts'
import type { Frame, FrameRun, PagePlacement, PageStore } from '../hypervisor/page-store.ts'
import {
  F_SEAL_SEAL,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fallocate,
} from '../native/files.ts'
import type { Budget } from './budget.ts'
import { CHUNK_PAGES, EMPTY_CHUNKS_MAX, FIRST_CHUNK_PAGES } from './limits.ts'
import { type Memfd, sealedMemfd } from './memfd.ts'
import { Slots } from './slots.ts'

/** From so many pages on it is cheaper to punch a hole than to write zeroes. */
const PUNCH_PAGES_MIN = 8

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
  /** Processes that may have the descriptor: they granted or were given a page. */
  readonly holders: WeakSet<object>
  readonly slots: Slots
  /** Domains against whose limit its pages count: the granter, and the grantee once it mapped. */
  payers: number[]
  used: number
  /** A grantee has the descriptor, so it can write to every page, used or not. */
  isShared: boolean
  /** The granter has its own writable mapping, which a seal would forbid later. */
  isGranterMapped: boolean
  /** Counted among those that wait for a page. */
  isEmpty: boolean
  /** Its process is gone: no page of it is handed out again. */
  isRetired: boolean
}

/** Chunks of one granting process for one grantee with one right. */
interface OpenChunks {
  /** Those with room; the last is the one to take from. */
  readonly chunks: Chunk[]
  /** Of the next one: a peer with one page costs little memory, one with many few descriptors. */
  pages: number
}

/** The memory of the simulated machine: chunks, made when needed, gone when empty and retired. */
export class ChunkStore implements PageStore {
  readonly #chunks = new Map<number, Chunk>()
  /** By frame number over CHUNK_PAGES; a larger chunk takes several places. */
  readonly #byFrame: (Chunk | undefined)[] = []
  #freePlaces: number[] = []
  /** Empty chunks that wait for their process to grant again. */
  readonly #empty = new Map<object, number>()
  /** Chunks with room, by granting process and then by grantee and right. */
  readonly #open = new Map<object, Map<number, OpenChunks>>()
  #unmapped: Chunk[] = []
  #nextId = 1
  readonly #budget: Budget

  constructor(budget: Budget) {
    this.#budget = budget
  }

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

  allocate(count: number, placement: PagePlacement): FrameRun[] | ErrorFacts {
    const runs: FrameRun[] = []
    for (let left = count; left > 0; ) {
      const chunk = this.#withRoom(left, placement)
      if (!('slots' in chunk)) {
        for (const run of runs) this.free(run.first, run.count)
        return chunk
      }
      const run = this.#take(chunk, left)
      runs.push(run)
      left -= run.count
    }
    return runs
  }

  free(first: Frame, count: number): void {
    for (let frame = first; frame < first + count; ) {
      const chunk = this.chunkOf(frame)
      const end = Math.min(first + count, chunk.first + chunk.pages)
      this.#put(chunk, frame - chunk.first, end - frame)
      frame = end
    }
  }

  /** Gives pages of one chunk back. */
  #put(chunk: Chunk, slot: number, count: number): void {
    const isLarge = chunk.pages > CHUNK_PAGES
    if (isFull(chunk) && !chunk.isRetired && !isLarge) this.#list(chunk)
    chunk.slots.put(slot, count)
    chunk.used -= count
    if (chunk.used > 0) return
    // A large chunk was made for one ALLOC and goes with it; an ordinary one waits for the next,
    // but a process that grants to ever other domains must not pile them up.
    const { process } = chunk.placement
    const waiting = (this.#empty.get(process) ?? 0) + 1
    if (chunk.isRetired || isLarge || waiting > EMPTY_CHUNKS_MAX) this.#destroy(chunk)
    else {
      chunk.isEmpty = true
      this.#empty.set(process, waiting)
    }
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
  unmappedOf(process: object): readonly Chunk[] {
    if (this.#unmapped.length === 0) return this.#unmapped
    return this.#unmapped.filter(chunk => chunk.placement.process === process)
  }

  /** Their process has mapped it: from now on it may be sealed and shown to its grantee. */
  setGranterMapped(chunk: Chunk): void {
    chunk.isGranterMapped = true
    this.#unmapped = this.#unmapped.filter(other => other !== chunk)
  }

  /** A grantee will have the descriptor: why it may not, or undefined. */
  share(chunk: Chunk, domid: number): ErrorFacts | undefined {
    if (chunk.payers.includes(domid)) return undefined
    const refusal = this.#budget.takeMemory(domid, chunk.placement.granter, chunk.pages)
    if (!refusal) chunk.payers.push(domid)
    return refusal
  }

  /** Domids come back, so what a dead process granted never mixes with what another grants. */
  retire(process: object): void {
    this.#open.delete(process)
    this.#empty.delete(process)
    for (const chunk of [...this.#chunks.values()]) {
      if (chunk.placement.process !== process) continue
      chunk.isRetired = true
      if (chunk.used === 0) this.#destroy(chunk)
      else this.#leave(chunk)
    }
  }

  /** Whoever still maps what a dead process granted pays for it alone. */
  #leave(chunk: Chunk): void {
    const { granter, grantee } = chunk.placement
    if (!chunk.payers.includes(grantee) || grantee === granter) return
    chunk.payers = [grantee]
    this.#budget.giveMemory(granter, granter, chunk.pages)
  }

  close(): void {
    for (const chunk of [...this.#chunks.values()]) this.#destroy(chunk)
  }

  #offset(chunk: Chunk, frame: Frame): number {
    return (frame - chunk.first) * PAGE_SIZE
  }

  #withRoom(count: number, placement: PagePlacement): Chunk | ErrorFacts {
    const open = this.#openOf(placement)
    const { chunks } = open
    // Full chunks leave the list here and come back when a page of theirs is freed.
    while (chunks.length > 0 && isFull(chunks[chunks.length - 1] as Chunk)) chunks.pop()
    const found = chunks.at(-1)
    const isLarge = count > CHUNK_PAGES
    // What a small chunk has no room for goes into a larger one, as a run.
    const fits = found && (found.pages === CHUNK_PAGES || found.pages - found.used >= count)
    if (found && fits && !isLarge) return found
    let pages = isLarge ? count : open.pages
    while (pages < count) pages *= 2
    const created = this.#create(pages, placement)
    if (isLarge || !('slots' in created)) return created
    chunks.push(created)
    open.pages = Math.min(2 * pages, CHUNK_PAGES)
    return created
  }

  /** A chunk has room again; it may still be in the list from when it had before. */
  #list(chunk: Chunk): void {
    const { chunks } = this.#openOf(chunk.placement)
    if (!chunks.includes(chunk)) chunks.push(chunk)
  }

  #openOf(placement: PagePlacement): OpenChunks {
    const key = keyOf(placement)
    let ofProcess = this.#open.get(placement.process)
    if (!ofProcess) {
      ofProcess = new Map()
      this.#open.set(placement.process, ofProcess)
    }
    let open = ofProcess.get(key)
    if (!open) {
      open = { chunks: [], pages: FIRST_CHUNK_PAGES }
      ofProcess.set(key, open)
    }
    return open
  }

  #unlist(chunk: Chunk): void {
    const { placement } = chunk
    const { chunks } = this.#openOf(placement)
    const at = chunks.indexOf(chunk)
    if (at >= 0) chunks.splice(at, 1)
    if (chunks.length === 0) this.#open.get(placement.process)?.delete(keyOf(placement))
  }

  /** Pages in a row of a chunk with room, up to so many. */
  #take(chunk: Chunk, max: number): FrameRun {
    if (chunk.isEmpty) {
      const { process } = chunk.placement
      chunk.isEmpty = false
      this.#empty.set(process, (this.#empty.get(process) ?? 1) - 1)
    }
    const used = chunk.slots.highWater
    const { first, count } = chunk.slots.take(max)
    if (first < used || chunk.isShared) wipe(chunk, first, count)
    chunk.used += count
    return { first: chunk.first + first, count }
  }

  #create(pages: number, placement: PagePlacement): Chunk | ErrorFacts {
    const { granter } = placement
    const refusal = this.#budget.takeMemory(granter, granter, pages)
    if (refusal) return refusal
    const noDescriptor = this.#budget.takeDescriptors(granter, 1)
    if (noDescriptor) {
      this.#budget.giveMemory(granter, granter, pages)
      return noDescriptor
    }
    // One of read-only grants is sealed for good once its granter has mapped it.
    const seals = placement.writable ? F_SEAL_SEAL : 0
    const memfd = sealedMemfd('interdom-chunk', pages * PAGE_SIZE, seals)
    if (typeof memfd === 'number') {
      this.#budget.giveMemory(granter, granter, pages)
      this.#budget.giveDescriptors(granter, 1)
      return { wanted: pages, fix: `the host could not make a memfd: ${errnoName(memfd)}` }
    }
    const places = placesOf({ pages })
    const place =
      places === 1 ? (this.#freePlaces.pop() ?? this.#byFrame.length) : this.#byFrame.length
    const chunk: Chunk = {
      id: this.#nextId++,
      first: place * CHUNK_PAGES,
      pages,
      memfd,
      placement,
      holders: new WeakSet(),
      slots: new Slots(pages),
      payers: [granter],
      used: 0,
      isShared: false,
      isGranterMapped: false,
      isEmpty: false,
      isRetired: false,
    }
    for (let i = 0; i < places; i++) this.#byFrame[place + i] = chunk
    this.#chunks.set(chunk.id, chunk)
    if (!placement.writable) this.#unmapped.push(chunk)
    return chunk
  }

  /** Large chunks always lie behind all others: what they leave there must not stay for ever. */
  #trimPlaces(): void {
    const before = this.#byFrame.length
    while (this.#byFrame.length > 0 && this.#byFrame.at(-1) === undefined) this.#byFrame.pop()
    const { length } = this.#byFrame
    if (length < before) this.#freePlaces = this.#freePlaces.filter(place => place < length)
  }

  #destroy(chunk: Chunk): void {
    const place = chunk.first / CHUNK_PAGES
    for (let i = 0; i < placesOf(chunk); i++) {
      this.#byFrame[place + i] = undefined
      this.#freePlaces.push(place + i)
    }
    this.#chunks.delete(chunk.id)
    this.#trimPlaces()
    if (!chunk.isRetired) this.#unlist(chunk)
    this.#unmapped = this.#unmapped.filter(other => other !== chunk)
    chunk.memfd.close()
    const { granter } = chunk.placement
    for (const domid of chunk.payers) this.#budget.giveMemory(domid, granter, chunk.pages)
    this.#budget.giveDescriptors(granter, 1)
  }
}

/** Grantee and right as one number. */
function keyOf({ grantee, writable }: PagePlacement): number {
  return 2 * grantee + (writable ? 1 : 0)
}

function placesOf({ pages }: Pick<Chunk, 'pages'>): number {
  return Math.ceil(pages / CHUNK_PAGES)
}

function isFull(chunk: Chunk): boolean {
  return chunk.slots.isFull
}

/**
 * Zeroes pages that were in use, or that a grantee may have written to. Many at once are given back
 * to the system, which costs what was touched of them; read-only ones are sealed against that.
 */
function wipe(chunk: Chunk, slot: number, count: number): void {
  const { memfd, placement } = chunk
  const at = slot * PAGE_SIZE
  const length = count * PAGE_SIZE
  const canPunch = placement.writable && count >= PUNCH_PAGES_MIN
  const punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
  if (canPunch && fallocate(memfd.fd, punch, at, length) === 0) return
  memfd.bytes.fill(0, at, at + length)
}
