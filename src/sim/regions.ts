import { isReadable, MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import { XenError } from '../base/errors.ts'
import { type FrameRun, NO_FRAME } from '../hypervisor/page-store.ts'
import { OrderedSpans } from '../kernel/ordered-spans.ts'
import type { Process } from '../kernel/process.ts'
import type { Vma } from '../kernel/vma.ts'
import { Ranges } from '../memory/ranges.ts'
import type { Address } from '../platform.ts'
import type { WorldPages } from './world-pages.ts'

const READ_WRITE = PROT_READ | PROT_WRITE

/** What one mmap made and munmap has left of it, and where its bytes really are once viewed. */
interface Region {
  start: Address
  end: Address
  /** Where new views lie. */
  real: Address | undefined
  /** Where older views lie, from before the kernel took pages away. */
  older: readonly Address[]
}

/** A region by its real address, to find the simulated one of a view. */
interface RealSpan {
  start: Address
  readonly region: Region
}

/**
 * Where the simulated addresses of a process have their bytes. A region gets real memory when it
 * is first viewed: the frames of its pages, mapped side by side, with the protection that the
 * simulated pages have. Removing it leaves zeroes to the views that are still held.
 */
export class Regions {
  readonly #pages: WorldPages
  readonly #process: Process
  readonly #ranges = new Ranges()
  readonly #regions = new OrderedSpans<Region>()
  readonly #reals = new OrderedSpans<RealSpan>()

  constructor(pages: WorldPages, process: Process) {
    this.#pages = pages
    this.#process = process
  }

  add(start: Address, end: Address): void {
    this.#add(start, end)
  }

  /** The pages are gone, of whatever regions. */
  remove(start: Address, end: Address): void {
    for (const region of this.#overlapping(start, end)) {
      const from = Math.max(region.start, start)
      const to = Math.min(region.end, end)
      for (const real of realsOf(region)) this.#ranges.munmap(real + from - region.start, to - from)
      this.#cutOut(region, from, to)
    }
  }

  /** Pages have moved, in the kernel already: to the start of `[to, toEnd)`. */
  move(start: Address, end: Address, to: Address, toEnd: Address): void {
    this.remove(to, toEnd)
    const target = this.#add(to, toEnd)
    for (const region of this.#overlapping(start, end)) {
      this.#copyPlain(region, start, this, target, Math.min(end - start, toEnd - to))
    }
    this.remove(start, end)
  }

  /** What a forked child has, by its own memory map: with its own copy of plain memory. */
  copyTo(child: Regions): void {
    for (const region of this.#regions) {
      for (const { start, end } of child.#mappedRuns(region)) {
        this.#copyPlain(region, start, child, child.#add(start, end), end - start)
      }
    }
  }

  /** Plain memory is zeroed, as the kernel has advised. */
  clear(start: Address, end: Address): void {
    for (const region of this.#overlapping(start, end)) {
      if (region.real === undefined || !this.#isPlain(region)) continue
      const [from, to] = [Math.max(region.start, start), Math.min(region.end, end)]
      this.#withAccess(region, bytes => bytes.fill(0, from - region.start, to - region.start))
    }
  }

  /** The kernel has changed the protection of pages, or taken some away by it. */
  refresh(start: Address, end: Address): void {
    for (const region of this.#overlapping(start, end)) {
      if (region.real === undefined) continue
      this.#eachVma(Math.max(region.start, start), Math.min(region.end, end), (vma, from, to) => {
        if (isLost(vma, from)) this.#lose(region, from, to)
        else this.#protect(region, vma, from, to)
      })
    }
  }

  /**
   * The bytes at a simulated address; RangeError outside of one mapping, and without access. Where
   * stores are lost it is a copy, since real memory has no such pages.
   */
  view(address: Address, length: number): Uint8Array {
    const region = this.#regions.atOrBelow(address)
    if (!region || !Number.isInteger(length) || length < 0 || address + length > region.end) {
      throw new RangeError(`${length} bytes at 0x${address.toString(16)} are not one mapping`)
    }
    this.#eachVma(address, address + length, vma => {
      if (isReadable(vma.prot)) return
      throw new RangeError(`${length} bytes at 0x${address.toString(16)} have no access: PROT_NONE`)
    })
    const real = region.real ?? this.#realise(region)
    const bytes = this.#ranges.view(real + (address - region.start), length)
    return this.#process.vma(address)?.discardsStores ? bytes.slice() : bytes
  }

  /** The simulated address of bytes that {@link view} gave; RangeError for others. */
  addressOf(bytes: Uint8Array): Address {
    const real = this.#ranges.addressOf(bytes)
    const span = this.#reals.atOrBelow(real)
    const offset = span ? real - span.start : 0
    if (!span || offset >= span.region.end - span.region.start) {
      throw new RangeError('these bytes are not mapped any more')
    }
    return span.region.start + offset
  }

  close(): void {
    this.#ranges.close()
  }

  #add(start: Address, end: Address): Region {
    const region: Region = { start, end, real: undefined, older: [] }
    this.#regions.insert(region)
    return region
  }

  #overlapping(start: Address, end: Address): Region[] {
    const found: Region[] = []
    let region = this.#regions.atOrBelow(start) ?? this.#regions.above(start)
    while (region && region.start < end) {
      if (region.end > start) found.push(region)
      region = this.#regions.above(region.start)
    }
    return found
  }

  #cutOut(region: Region, from: Address, to: Address): void {
    this.#regions.remove(region)
    for (const real of realsOf(region)) this.#reals.remove({ start: real, region })
    const { start, end } = region
    if (start < from) this.#keep(region, start, from)
    if (to < end) this.#keep(region, to, end)
  }

  /** The part of a region that is left, as a region of its own. */
  #keep(whole: Region, start: Address, end: Address): void {
    const moved = (real: Address) => real + start - whole.start
    const real = whole.real === undefined ? undefined : moved(whole.real)
    const region: Region = { start, end, real, older: whole.older.map(moved) }
    this.#regions.insert(region)
    for (const one of realsOf(region)) this.#reals.insert({ start: one, region })
  }

  /** The parts of a region of another process that are mapped in this one too. */
  #mappedRuns({ start, end }: Region): { start: Address; end: Address }[] {
    const runs: { start: Address; end: Address }[] = []
    this.#eachVma(start, end, (_vma, from, to) => {
      const last = runs.at(-1)
      if (last?.end === from) last.end = to
      else runs.push({ start: from, end: to })
    })
    return runs
  }

  /** Copies bytes that are no page of the machine to the start of another region. */
  #copyPlain(region: Region, from: Address, into: Regions, target: Region, length: number): void {
    if (region.real === undefined || !into.#isPlain(target)) return
    const skipped = Math.max(0, region.start - from)
    const first = Math.max(0, from - region.start)
    this.#withAccess(region, bytes => {
      const part = bytes.subarray(first, first + length - skipped)
      into.#withAccess(target, room => room.set(part, skipped))
    })
  }

  #isPlain({ start }: Region): boolean {
    return this.#process.vma(start)?.backing === undefined
  }

  /** The bytes of a region as the kernel reaches them, whatever its program may. */
  #withAccess(region: Region, use: (bytes: Uint8Array) => void): void {
    const real = region.real ?? this.#realise(region)
    const length = region.end - region.start
    this.#ranges.protect(real, length, READ_WRITE)
    use(this.#ranges.view(real, length))
    this.#eachVma(region.start, region.end, (vma, from, to) => this.#protect(region, vma, from, to))
  }

  #realise(region: Region): Address {
    const real = this.#mapWhole(region)
    if (real < 0) throw new XenError(real, 'mmap')
    region.real = real
    this.#reals.insert({ start: real, region })
    this.#eachVma(region.start, region.end, (vma, from, to) => this.#protect(region, vma, from, to))
    return real
  }

  /** Anonymous memory, or the frames of all pages side by side. */
  #mapWhole(region: Region): Address {
    const length = region.end - region.start
    const runs: FrameRun[] = []
    this.#eachVma(region.start, region.end, (vma, from, to) => {
      runs.push(...vma.framesIn(from, to))
    })
    if (runs.length === 0) return this.#ranges.alloc(length)
    return this.#ranges.mapAll(this.#pages.parts(runs), { prot: READ_WRITE, flags: MAP_SHARED })
  }

  #protect(region: Region, vma: Vma, from: Address, to: Address): void {
    for (const real of realsOf(region)) {
      this.#ranges.protect(real + from - region.start, to - from, protOf(vma))
    }
  }

  /** Views that exist read zeroes there; the next one is made over what is left. */
  #lose(region: Region, from: Address, to: Address): void {
    for (const real of realsOf(region)) this.#ranges.munmap(real + from - region.start, to - from)
    region.older = [...realsOf(region)]
    region.real = undefined
  }

  /** Stands for the pages that the kernel took away: in C an access to them would be SIGBUS. */

  #eachVma(
    start: Address,
    end: Address,
    visit: (vma: Vma, from: Address, to: Address) => void,
  ): void {
    const { addressSpace } = this.#process
    for (let vma = addressSpace.find(start); vma && vma.start < end; ) {
      visit(vma, Math.max(vma.start, start), Math.min(vma.end, end))
      vma = addressSpace.find(vma.end)
    }
  }
}

function realsOf({ real, older }: Region): readonly Address[] {
  return real === undefined ? older : [real, ...older]
}

/** mprotect and madvise take all pages of a VMA away, or none. */
function isLost(vma: Vma, address: Address): boolean {
  return vma.backing !== undefined && vma.frameAt(address) === NO_FRAME
}

/** PROT_WRITE alone is readable on x86. */
function protOf(vma: Vma): number {
  if (vma.discardsStores) return PROT_READ
  return (vma.prot & PROT_WRITE) !== 0 ? vma.prot | PROT_READ : vma.prot
}
