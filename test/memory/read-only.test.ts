import { expect, test } from 'vitest'
import { ClosedError } from '../../src/base/errors.ts'
import { ReadOnlyBytes } from '../../src/memory/read-only.ts'

function numbered(length: number, base = 0): ReadOnlyBytes {
  const buffer = new Uint8Array(base + length).map((_, i) => i - base)
  return new ReadOnlyBytes('test bytes', length, () => buffer.subarray(base))
}

test('numbers are little endian at every offset, whole words or not', () => {
  for (const base of [0, 1, 8]) {
    const bytes = numbered(64, base)
    const view = new DataView(bytes.slice().buffer)
    for (let at = 0; at + 8 <= 64; at++) {
      expect(bytes.u8(at)).toBe(at)
      expect(bytes.u16(at)).toBe(view.getUint16(at, true))
      expect(bytes.u32(at)).toBe(view.getUint32(at, true))
      expect(bytes.u64(at)).toBe(view.getBigUint64(at, true))
    }
  }
})

test('copies are copies', () => {
  const bytes = numbered(16)
  const target = new Uint8Array(20).fill(255)
  expect(bytes.copyTo(target, 2, 5)).toBe(3)
  expect([...target.subarray(0, 4)]).toEqual([2, 3, 4, 255])
  expect(bytes.copyTo(target)).toBe(16)
  const slice = bytes.slice(14)
  slice[0] = 99
  expect(bytes.u8(14)).toBe(14)
  expect(bytes.slice(3, 3).length).toBe(0)
  expect(bytes.unsafeBytes()[5]).toBe(5)
})

test('what lies outside is a RangeError', () => {
  const bytes = numbered(16)
  const calls: (() => unknown)[] = [
    () => bytes.u8(16),
    () => bytes.u8(-1),
    () => bytes.u8(0.5),
    () => bytes.u16(15),
    () => bytes.u32(13),
    () => bytes.u64(9),
    () => bytes.u64(Number.NaN),
    () => bytes.slice(-1),
    () => bytes.slice(5, 4),
    () => bytes.slice(0, 17),
    () => bytes.copyTo(new Uint8Array(15)),
    () => bytes.copyTo(new Uint8Array(99), 0, 17),
  ]
  for (const call of calls) expect(call).toThrow(RangeError)
})

test('the bytes are asked for when they are first looked at, and once', () => {
  let calls = 0
  const bytes = new ReadOnlyBytes('test bytes', 8, () => {
    calls++
    return new Uint8Array(8)
  })
  expect([bytes.length, calls]).toEqual([8, 0])
  bytes.u8(0)
  bytes.u64(0)
  bytes.slice()
  expect(calls).toBe(1)
})

test('after release everything but the length throws ClosedError', () => {
  const bytes = numbered(16)
  bytes.u8(0)
  bytes.release()
  bytes.release()
  expect(bytes.length).toBe(16)
  const calls: (() => unknown)[] = [
    () => bytes.u8(0),
    () => bytes.u16(0),
    () => bytes.u32(0),
    () => bytes.u64(0),
    () => bytes.slice(),
    () => bytes.copyTo(new Uint8Array(16)),
    () => bytes.unsafeBytes(),
  ]
  for (const call of calls) expect(call).toThrow(ClosedError)
})
