import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { AddressSpace } from '../../src/kernel/address-space.ts'
import { type PageBacking, Vma } from '../../src/kernel/vma.ts'

const PAGES = 48
const BASE = 0x10_0000

/** A mapping that only counts: pieces that live, and pages that were revoked. */
class Counted implements PageBacking {
  readonly device = 'gntdev'
  readonly isWritable = true
  readonly isInherited = false
  readonly isEnteredByXen = false
  readonly revoked = new Set<number>()
  pieces = 1

  frame(page: number): number {
    return page
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
}

const place = fc.record({
  first: fc.integer({ min: 0, max: PAGES - 1 }),
  count: fc.integer({ min: 1, max: 12 }),
})
const step = fc.oneof(
  fc.record({ kind: fc.constant('map'), place, prot: fc.constantFrom(0, 1, 3) }),
  fc.record({ kind: fc.constant('unmap'), place, prot: fc.constant(0) }),
  fc.record({ kind: fc.constant('protect'), place, prot: fc.constantFrom(0, 1, 3) }),
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

class Pair {
  readonly space = new AddressSpace(() => {}, { mappings: 0 })
  readonly cells: (Cell | undefined)[] = Array.from({ length: PAGES + 12 }, () => undefined)
  readonly expected = new Map<Counted, Set<number>>()

  run({ kind, place: { first, count }, prot }: Step): void {
    const start = BASE + first * PAGE_SIZE
    const end = start + count * PAGE_SIZE
    if (kind === 'protect') this.protect(start, end, first, count, prot)
    else {
      this.space.unmap(start, end)
      for (let i = first; i < first + count; i++) this.clear(i)
    }
    if (kind === 'map') this.map(start, end, first, count, prot)
    this.check()
  }

  map(start: number, end: number, first: number, count: number, prot: number): void {
    const mapping = new Counted()
    this.expected.set(mapping, new Set())
    const fields = { start, end, prot, shared: true, mayWrite: true, firstPage: 0 }
    this.space.insert(new Vma({ ...fields, file: undefined, backing: mapping }))
    for (let i = 0; i < count; i++) this.cells[first + i] = { mapping, page: i, prot }
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
      const seen = vma && { mapping: vma.backing, page: vma.pageAt(address), prot: vma.prot }
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
