import { expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { PROT_READ, PROT_WRITE } from '../../src/abi/mman.ts'
import { Ranges } from '../../src/memory/ranges.ts'
import { readSelf } from '../../src/memory/self.ts'
import { munmap } from '../../src/native/libc.ts'
import { fc } from '../setup/properties.ts'
import { collect, collectUntil } from './collect.ts'
import { PAGE, SHARED, sharedFile } from './shared-file.ts'

const PAGES = 8
/**
 * Where Linux puts nothing by itself, since it fills the addresses from the top: what a run unmaps
 * must stay free, while other threads of this process start stacks and heaps of their own.
 */
const ARENA = 2 ** 37
/** Of the file; what each page of it holds in its first byte. */
const FILE_PAGES = 4

type Op =
  | { op: 'map'; at: number; page: number }
  | { op: 'alloc' | 'munmap' | 'view' | 'protect' | 'refuse'; at: number; count: number }
  | { op: 'collect' }

const at = fc.integer({ min: 0, max: PAGES - 1 })
const count = fc.integer({ min: 1, max: 3 })
const map = fc.record({ op: fc.constant('map' as const), at, page: fc.nat(FILE_PAGES - 1) })
const call = fc.record({
  op: fc.constantFrom('alloc', 'munmap', 'view', 'protect', 'refuse'),
  at,
  count,
})
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 10, arbitrary: map },
  { weight: 30, arbitrary: call },
  // Takes the longest by far.
  { weight: 1, arbitrary: fc.constant({ op: 'collect' as const }) },
)

/**
 * What the model knows of a page of the arena: which range it is of, and its first byte. A page
 * that was unmapped is undefined.
 */
type Page = { readonly range: object; readonly value: number } | undefined

class Run {
  readonly memory = new Ranges()
  readonly base: number = this.memory.alloc(PAGES * PAGE, ARENA)
  readonly pages = new Array<Page>(PAGES).fill(undefined)
  readonly held: { at: number; bytes: Uint8Array }[] = []
  readonly fd: number

  constructor(fd: number) {
    this.fd = fd
    this.memory.munmap(this.base, PAGES * PAGE)
  }

  async step(op: Op): Promise<void> {
    if (op.op === 'collect') {
      this.held.length = 0
      await collect()
      return
    }
    const end = Math.min(op.op === 'map' ? op.at + 1 : op.at + op.count, PAGES)
    const [address, length] = [this.base + op.at * PAGE, (end - op.at) * PAGE]
    const touched = this.pages.slice(op.at, end)
    if (op.op === 'map') {
      const file = { fd: this.fd, offset: op.page * PAGE, length }
      expect(this.memory.map(file, { ...SHARED, at: address })).toBe(address)
      this.pages[op.at] = { range: {}, value: op.page + 1 }
    } else if (op.op === 'alloc') {
      expect(this.memory.alloc(length, address)).toBe(address)
      this.pages.fill({ range: {}, value: 0 }, op.at, end)
    } else if (op.op === 'munmap') {
      expect(this.memory.munmap(address, length)).toBe(0)
      this.pages.fill(undefined, op.at, end)
    } else if (op.op === 'refuse') {
      // The last page cannot be mapped, which shows when those before it have been.
      const good = { fd: this.fd, offset: 0, length: length - PAGE }
      const files = [good, { fd: -1, offset: 0, length: PAGE }].filter(file => file.length > 0)
      expect(this.memory.mapAll(files, { ...SHARED, at: address })).toBe(-ERRNO.EBADF)
      if (files.length > 1) this.pages.fill(undefined, op.at, end)
    } else if (op.op === 'protect') {
      const isMapped = touched.every(page => page)
      const result = this.memory.protect(address, length, PROT_READ | PROT_WRITE)
      expect(result === 0).toBe(isMapped)
    } else {
      const isOneRange = touched.every(page => page && page.range === touched[0]?.range)
      if (isOneRange) this.held.push({ at: op.at, bytes: this.memory.view(address, length) })
      else expect(() => this.memory.view(address, length)).toThrow(RangeError)
    }
  }

  /** Every page by its address and through every view: what is mapped, or zero, never a fault. */
  check(): void {
    this.pages.forEach((page, i) => {
      if (page) expect(readSelf(this.base + i * PAGE, 1)?.[0]).toBe(page.value)
    })
    for (const { at, bytes } of this.held) {
      for (let i = 0; i * PAGE < bytes.length; i++) {
        expect(bytes[i * PAGE]).toBe(this.pages[at + i]?.value ?? 0)
      }
    }
  }
}

/** Found by chance: calls after which a tombstone was kept that no buffer could reach. */
const UNREACHED: Op[][] = [
  // Page 4: only a neighbour had been viewed.
  [
    { op: 'alloc', at: 1, count: 3 },
    { op: 'view', at: 1, count: 1 },
    { op: 'alloc', at: 3, count: 3 },
    { op: 'munmap', at: 4, count: 1 },
  ],
  // Page 6: what is mapped over page 5 parts it from page 4, which was viewed.
  [
    { op: 'alloc', at: 4, count: 2 },
    { op: 'view', at: 4, count: 1 },
    { op: 'alloc', at: 4, count: 3 },
    { op: 'munmap', at: 4, count: 3 },
    { op: 'map', at: 5, page: 3 },
  ],
]

test('whatever is mapped, replaced, unmapped and collected, views see it or zeroes', async () => {
  const fd = sharedFile(FILE_PAGES)
  const files = new Ranges()
  const whole = files.map({ fd, offset: 0, length: FILE_PAGES * PAGE }, SHARED)
  for (let i = 0; i < FILE_PAGES; i++) files.view(whole + i * PAGE, 1)[0] = i + 1
  const isEmptied = async (ops: Op[]) => {
    const run = new Run(fd)
    try {
      for (const op of ops) {
        await run.step(op)
        run.check()
      }
    } finally {
      run.held.length = 0
      run.memory.close()
    }
    const isEmpty = await collectUntil(() => run.memory.usage.tombstones === 0)
    // What this run has kept must not be in the way of the shorter ones that are tried then.
    if (!isEmpty) munmap(run.base, PAGES * PAGE)
    return isEmpty
  }
  const run = fc.asyncProperty(fc.array(op, { minLength: 5, maxLength: 40 }), async ops => {
    expect(await isEmptied(ops)).toBe(true)
  })
  await fc.assert(run, { numRuns: 80, examples: UNREACHED.map(ops => [ops]) })
  files.close()
})
