import { expect, test } from 'vitest'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import type { FrameRun } from '../../src/hypervisor/page-store.ts'
import { AddressSpace } from '../../src/kernel/address-space.ts'
import { type PageBacking, Vma } from '../../src/kernel/vma.ts'
import { fc } from '../setup/properties.ts'

const PAGES = 48
const BASE = 0x10_0000

/** A mapping that only counts: pieces that live, and pages that were revoked. */
class Counted implements PageBacking {
  readonly device = 'gntdev'
  readonly isWritable = true
  readonly isInherited = true
  readonly isEnteredByXen = false
  readonly revoked = new Set<number>()
  pieces = 1

  frame(page: number): number {
    return page
  }

  frames(first: number, count: number): FrameRun[] {
    return [{ first, count }]
  }

  isForeign(): boolean {
    return false
  }

  opened(): void {
    this.pieces++
  }

  closed(): void {
    this.pieces--
  }

  revoke(first: number, count: number): void {
    for (let page = first; page < first + count; page++) this.revoked.add(page)
  }
}

/** One page of the naive model. */
interface Cell {
  mapping: Counted
  page: number
  prot: number
  isInherited: boolean
}

const place = fc.record({
  first: fc.integer({ min: 0, max: PAGES - 1 }),
  count: fc.integer({ min: 1, max: 12 }),
})
const step = fc.record({
  kind: fc.constantFrom('map', 'map', 'unmap', 'protect', 'move', 'forget', 'fork'),
  place,
  prot: fc.constantFrom(0, 1, 3),
  to: fc.integer({ min: 0, max: PAGES - 1 }),
})
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

class Pair {
  readonly space = new AddressSpace(() => {}, { mappings: 0 })
  readonly cells: (Cell | undefined)[] = Array.from({ length: PAGES + 12 }, () => undefined)
  readonly expected = new Map<Counted, Set<number>>()

  run({ kind, place: { first, count }, prot, to }: Step): void {
    const start = BASE + first * PAGE_SIZE
    const end = start + count * PAGE_SIZE
    if (kind === 'protect') this.protect(start, end, first, count, prot)
    else if (kind === 'move') this.move(start, first, count, to)
    else if (kind === 'forget') this.forget(start, end, first, count)
    else if (kind === 'fork') this.fork()
    else {
      this.space.unmap(start, end)
      for (let i = first; i < first + count; i++) this.clear(i)
    }
    if (kind === 'map') this.map(start, end, first, count, prot)
    this.check()
  }

  /** Moves as many pages as lie in one VMA, when nothing lies where they go. */
  move(start: number, first: number, most: number, to: number): void {
    const vma = this.space.at(start)
    const count = vma ? Math.min(most, (vma.end - start) / PAGE_SIZE) : 0
    const isFree = this.cells.slice(to, to + count).every(cell => cell === undefined)
    if (count === 0 || !isFree) return
    const end = start + count * PAGE_SIZE
    this.space.move(start, end, BASE + to * PAGE_SIZE, count * PAGE_SIZE)
    for (let i = 0; i < count; i++) {
      const cell = this.cells[first + i]
      this.clear(first + i)
      this.cells[to + i] = cell
    }
  }

  /** No child is to have these pages. */
  forget(start: number, end: number, first: number, count: number): void {
    const cells = this.cells.slice(first, first + count)
    const advised = this.space.advise(start, end, piece => {
      piece.isInherited = false
      return 0
    })
    expect(advised).toBe(cells.includes(undefined) ? -12 : 0)
    for (const cell of cells) if (cell) cell.isInherited = false
  }

  /** A child has the same, but for what was forgotten; its end is heard of as any unmapping. */
  fork(): void {
    const child = new AddressSpace(() => {}, { mappings: 0 })
    this.space.copyTo(child)
    for (const [i, cell] of this.cells.entries()) {
      const vma = child.at(BASE + i * PAGE_SIZE)
      expect(vma?.backing).toBe(cell?.isInherited ? cell.mapping : undefined)
      if (cell?.isInherited) this.expected.get(cell.mapping)?.add(cell.page)
    }
    child.clear()
  }

  map(start: number, end: number, first: number, count: number, prot: number): void {
    const mapping = new Counted()
    this.expected.set(mapping, new Set())
    const fields = { start, end, prot, shared: true, mayWrite: true, firstPage: 0 }
    this.space.insert(new Vma({ ...fields, file: undefined, backing: mapping }))
    for (let i = 0; i < count; i++) {
      this.cells[first + i] = { mapping, page: i, prot, isInherited: true }
    }
  }

  protect(start: number, end: number, first: number, count: number, prot: number): void {
    const cells = this.cells.slice(first, first + count)
    const hole = cells.indexOf(undefined)
    expect(this.space.protect(start, end, prot)).toBe(hole < 0 ? 0 : -12)
    for (const cell of hole < 0 ? cells : cells.slice(0, hole)) {
      if (!cell || cell.prot === prot) continue
      cell.prot = prot
      this.expected.get(cell.mapping)?.add(cell.page)
    }
  }

  clear(i: number): void {
    const cell = this.cells[i]
    if (cell) this.expected.get(cell.mapping)?.add(cell.page)
    this.cells[i] = undefined
  }

  check(): void {
    for (const [i, cell] of this.cells.entries()) {
      const address = BASE + i * PAGE_SIZE
      const vma = this.space.at(address + 5)
      const { isInherited, prot } = vma ?? {}
      const page = vma?.pageAt(address)
      const seen = vma && { mapping: vma.backing, page, prot, isInherited }
      expect(seen).toEqual(cell)
      const next = this.cells.findIndex((other, j) => j >= i && other !== undefined)
      expect(this.space.find(address)?.backing).toBe(this.cells[next]?.mapping)
    }
    for (const [mapping, revoked] of this.expected) {
      expect(mapping.revoked).toEqual(revoked)
      const isGone = !this.cells.some(cell => cell?.mapping === mapping)
      expect(mapping.pieces === 0).toBe(isGone)
    }
  }
}

test('a memory map is what a list of pages says', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30, size: 'max' }), steps => {
      const pair = new Pair()
      for (const one of steps) pair.run(one)
      pair.space.clear()
      expect(pair.space.size).toBe(0)
      for (const mapping of pair.expected.keys()) expect(mapping.pieces).toBe(0)
    }),
    { numRuns: 150 },
  )
})
