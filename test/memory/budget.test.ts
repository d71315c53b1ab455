import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { MappingBudget } from '../../src/memory/budget.ts'
import { MAPPINGS_RECOUNT } from '../../src/memory/limits.ts'
import { Ranges } from '../../src/memory/ranges.ts'
import { collectUntil } from './collect.ts'
import { mapPages, PAGE, SHARED, sharedFile } from './shared-file.ts'

/** A machine where this many kernel mappings are left, by its own count. */
class Machine {
  used = 0
  looks = 0
  readonly budget: MappingBudget

  constructor(max: number) {
    const used = () => {
      this.looks++
      return this.used
    }
    this.budget = new MappingBudget({ max: () => max, used })
  }
}

let memory: Ranges | undefined
afterEach(async () => {
  memory?.close()
  await collectUntil(() => memory?.usage.tombstones === 0)
})

test('mapping answers ENOMEM when the mappings of the process are used up', () => {
  const state = new Machine(100)
  const fd = sharedFile(1)
  const ranges = new Ranges(state.budget)
  memory = ranges
  state.used = 60
  const address = mapPages(ranges, fd, 0, 1)
  state.used = 75
  for (let i = 0; i < 5; i++) ranges.map({ fd, offset: 0, length: PAGE }, SHARED)
  expect(ranges.map({ fd, offset: 0, length: PAGE }, SHARED)).toBe(-ERRNO.ENOMEM)
  expect(ranges.alloc(PAGE)).toBe(-ERRNO.ENOMEM)
  expect(ranges.protect(address, PAGE, 1)).toBe(-ERRNO.ENOMEM)
  const parts = [0, 1].map(() => ({ fd, offset: 0, length: PAGE }))
  expect(ranges.mapAll(parts, SHARED)).toBe(-ERRNO.ENOMEM)
  // Unmapping has a reserve of its own, and needs none where nothing was viewed.
  ranges.view(address, PAGE)
  expect(ranges.munmap(address, PAGE)).toBe(0)
  state.used = 50
  expect(ranges.alloc(PAGE)).toBeGreaterThan(0)
})

test('munmap answers ENOMEM when not even a tombstone can be put, and keeps the mapping', () => {
  const state = new Machine(100)
  const ranges = new Ranges(state.budget)
  memory = ranges
  const address = mapPages(ranges, sharedFile(1), 0, 1)
  const bytes = ranges.view(address, PAGE)
  bytes[0] = 3
  state.budget.note(1000)
  state.used = 99
  expect(ranges.munmap(address, PAGE)).toBe(-ERRNO.ENOMEM)
  expect(bytes[0]).toBe(3)
  ranges.close()
  expect(bytes[0]).toBe(0)
})

test('the system is asked seldom, and again when the own count says that it is full', () => {
  const state = new Machine(65530)
  expect(state.budget.take(1)).toBe(true)
  expect(state.looks).toBe(1)
  for (let i = 0; i <= MAPPINGS_RECOUNT; i++) state.budget.take(1)
  expect(state.looks).toBe(2)
  state.used = 65000
  state.budget.note(65530)
  expect(state.budget.take(1)).toBe(false)
  expect(state.looks).toBe(3)
  // Nothing was mapped or unmapped since: the answer is known.
  expect(state.budget.take(1)).toBe(false)
  expect(state.looks).toBe(3)
})

test('a process that maps all it can is told ENOMEM, goes on and ends in order', async () => {
  const fixture = fileURLToPath(new URL('./fixtures/map-until-enomem.mjs', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', fixture])
  expect(JSON.parse(stdout)).toEqual({
    refusal: -ERRNO.ENOMEM,
    isNearTheLimit: true,
    heapWorks: true,
    mapsAgain: true,
  })
})
