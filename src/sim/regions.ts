import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { XenError } from '../base/errors.ts'
import { OrderedSpans } from '../kernel/ordered-spans.ts'
import type { Process } from '../kernel/process.ts'
import { NO_FRAME, type Vma } from '../kernel/vma.ts'
import { Ranges } from '../memory/ranges.ts'
import type { Address } from '../platform.ts'
import type { WorldPages } from './world-pages.ts'

const READ_WRITE = PROT_READ | PROT_WRITE

/** What one mmap made and munmap has left of it, and where its bytes really are once viewed. */
interface Region {
  start: Address
  end: Address
  real: Address | undefined
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
    this.#regions.insert({ start, end, real: undefined })
  }

  /** The pages are gone, of whatever regions. */
  remove(start: Address, end: Address): void {
    for (const region of this.#overlapping(start, end)) {
      const from = Math.max(region.start, start)
      const to = Math.min(region.end, end)
      if (region.real !== undefined) {
        this.#ranges.munmap(region.real + (from - region.start), to - from)
      }
      this.#cutOut(region, from, to)
    }
  }

  /** The kernel has changed the protection of pages, or taken some away by it. */
  refresh(start: Address, end: Address): void {
    for (const region of this.#overlapping(start, end)) {
      if (region.real === undefined) continue
      this.#eachVma(Math.max(region.start, start), Math.min(region.end, end), (vma, from, to) => {
        this.#protect(region, vma, from, to)
      })
    }
  }

  /** The bytes at a simulated address; RangeError outside of one mapping. */
  view(address: Address, length: number): Uint8Array {
    const region = this.#regions.atOrBelow(address)
    if (!region || !Number.isInteger(length) || length < 0 || address + length > region.end) {
      throw new RangeError(`${length} bytes at 0x${address.toString(16)} are not one mapping`)
    }
    const real = region.real ?? this.#realise(region)
    return this.#ranges.view(real + (address - region.start), length)
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
    this.#forget(region)
    const { start, end, real } = region
    if (start < from) this.#keep({ start, end: from, real })
    if (to < end)
      this.#keep({ start: to, end, real: real === undefined ? real : real + to - start })
  }

  #forget(region: Region): void {
    this.#regions.remove(region)
    if (region.real !== undefined) this.#reals.remove({ start: region.real, region })
  }

  #keep(region: Region): void {
    this.#regions.insert(region)
    if (region.real !== undefined) this.#reals.insert({ start: region.real, region })
  }

  #realise(region: Region): Address {
    const real = this.#mapWhole(region)
    if (real < 0) throw new XenError(real, 'mmap')
    region.real = real
    this.#reals.insert({ start: real, region })
    this.#eachVma(region.start, region.end, (vma, from, to) => this.#protect(region, vma, from, to))
    return real
  }

  /** Anonymous memory, or all frames at once; what has lost its frame is filled in by `protect`. */
  #mapWhole(region: Region): Address {
    const length = region.end - region.start
    const frames: number[] = []
    this.#eachVma(region.start, region.end, (vma, from, to) => {
      const first = (from - vma.start) / PAGE_SIZE
      frames.push(...vma.frames.slice(first, first + (to - from) / PAGE_SIZE))
    })
    const isWhole = frames.length * PAGE_SIZE === length && !frames.includes(NO_FRAME)
    if (!isWhole) return this.#ranges.alloc(length)
    return this.#ranges.mapAll(this.#pages.parts(frames), { prot: READ_WRITE, flags: MAP_SHARED })
  }

  #protect(region: Region, vma: Vma, from: Address, to: Address): void {
    const real = (region.real ?? 0) + (from - region.start)
    if (vma.backing) this.#fillLost(vma, from, to, real)
    if (vma.prot !== READ_WRITE) this.#ranges.protect(real, to - from, protOf(vma))
    else if (vma.backing) this.#ranges.protect(real, to - from, READ_WRITE)
  }

  /** Zeroes where the kernel has taken a page away: in C an access to it would be SIGBUS. */
  #fillLost(vma: Vma, from: Address, to: Address, real: Address): void {
    const { frames } = vma
    for (let address = from; address < to; address += PAGE_SIZE) {
      if (frames[(address - vma.start) / PAGE_SIZE] !== NO_FRAME) continue
      this.#ranges.alloc(PAGE_SIZE, real + (address - from))
    }
  }

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

/** PROT_WRITE alone is readable on x86. */
function protOf(vma: Vma): number {
  return (vma.prot & PROT_WRITE) !== 0 ? vma.prot | PROT_READ : vma.prot
}
