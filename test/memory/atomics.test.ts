import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import * as atomics from '../../src/memory/atomics.ts'
import { createMemfd } from '../../src/memory/memfd.ts'
import { Ranges } from '../../src/memory/ranges.ts'
import { F_SEAL_SHRINK, getSeals, sizeOf } from '../../src/native/libc.ts'
import { mapPages, PAGE, sharedFile } from './shared-file.ts'

const ROUNDS = 10_000_000
const [SUM, LOCKED, GO] = [0, 16, 32]

test('two processes add ten million times each to one word, exactly', async () => {
  const fd = sharedFile(1)
  const memory = new Ranges()
  onTestFinished(() => memory.close())
  const words = atomics.wordsOf(memory.view(mapPages(memory, fd, 0, 1), PAGE))
  const fixture = fileURLToPath(new URL('./fixtures/adder.mjs', import.meta.url))
  const child = spawn(process.execPath, [fixture, `${ROUNDS}`], {
    stdio: ['ignore', 'pipe', 'inherit', fd],
  })
  const exited = once(child, 'exit')
  await once(createInterface(child.stdout!), 'line')
  atomics.store(words, GO, 1)
  for (let i = 0; i < ROUNDS; i++) atomics.add(words, SUM, 1)
  for (let i = 0; i < ROUNDS / 10; i++) {
    let seen = atomics.load(words, LOCKED)
    for (;;) {
      const found = atomics.compareExchange(words, LOCKED, seen, seen + 1)
      if (found === seen) break
      seen = found
    }
  }
  expect(await exited).toEqual([0, null])
  expect(atomics.load(words, SUM)).toBe(2 * ROUNDS)
  expect(atomics.load(words, LOCKED)).toBe(ROUNDS / 5)
})

test('each operation answers the word as it was', () => {
  const bytes = new Uint8Array(12)
  const words = atomics.wordsOf(bytes.subarray(4, 11))
  expect(words.length).toBe(1)
  atomics.store(words, 0, 0xf0)
  expect(atomics.or(words, 0, 0x80000001)).toBe(0xf0)
  expect(atomics.and(words, 0, 0x800000f0)).toBe(0x800000f1)
  expect(atomics.exchange(words, 0, 5)).toBe(0x800000f0)
  expect(atomics.compareExchange(words, 0, 4, 9)).toBe(5)
  expect(atomics.compareExchange(words, 0, 5, 9)).toBe(5)
  expect(atomics.add(words, 0, 0xffffffff)).toBe(9)
  expect(atomics.load(words, 0)).toBe(8)
  expect(bytes[4]).toBe(8)
  expect(() => atomics.wordsOf(bytes.subarray(1))).toThrow(RangeError)
})

test('a memfd that cannot be made leaves nothing behind', () => {
  const fd = sharedFile(2)
  expect([sizeOf(fd), getSeals(fd) & F_SEAL_SHRINK]).toEqual([2 * PAGE, F_SEAL_SHRINK])
  expect(createMemfd({ name: 'interdom test', length: -1 })).toBeLessThan(0)
  expect(createMemfd({ name: 'interdom test', length: PAGE, seals: 1 << 30 })).toBeLessThan(0)
  expect(createMemfd({ name: 'x'.repeat(300), length: PAGE })).toBeLessThan(0)
})
