import { MessageChannel } from 'node:worker_threads'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Ranges } from '../../src/memory/ranges.ts'
import { collect } from './collect.ts'
import { mapPages, PAGE, sharedFile } from './shared-file.ts'

const hasTransfer = 'transfer' in ArrayBuffer.prototype

let memory: Ranges
let address: number
let bytes: Uint8Array
beforeEach(() => {
  memory = new Ranges()
  address = mapPages(memory, sharedFile(1), 0, 1)
  bytes = memory.view(address, PAGE)
  bytes[0] = 1
})
afterEach(() => memory.close())

type Movable = ArrayBuffer & { transfer(): ArrayBuffer; transferToFixedLength(): ArrayBuffer }

/** The bytes are still there, and die as any others. */
function expectKept(): void {
  expect([bytes.byteLength, bytes[0]]).toEqual([PAGE, 1])
  memory.munmap(address, PAGE)
  expect(bytes[0]).toBe(0)
}

test('transfer and transferToFixedLength throw a TypeError', () => {
  const buffer = bytes.buffer as Movable
  expect(() => buffer.transfer()).toThrow(TypeError)
  expect(() => buffer.transferToFixedLength()).toThrow(TypeError)
  expectKept()
})

test('structuredClone and postMessage do not move the memory', () => {
  const buffer = bytes.buffer as ArrayBuffer
  const { port1 } = new MessageChannel()
  const moves = [
    () => structuredClone(buffer, { transfer: [buffer] }),
    () => port1.postMessage(buffer, [buffer]),
  ]
  for (const move of moves) {
    // Node 20 copies in silence, later ones throw a DataCloneError.
    if (hasTransfer) expect(move).toThrow()
    else move()
  }
  port1.close()
  expectKept()
})

/** The bytes have another buffer now: it too reads zeroes after munmap, for as long as it lives. */
async function expectMoved(moved: Uint8Array): Promise<void> {
  expect([bytes.byteLength, moved[0]]).toEqual([0, 1])
  memory.munmap(address, PAGE)
  expect(moved[0]).toBe(0)
  bytes = moved
  await collect()
  expect(memory.usage.tombstones).toBe(PAGE)
  moved.fill(1)
}

test('what a byte stream took for itself stays mapped', async () => {
  const source = new ReadableStream({
    type: 'bytes',
    start: controller => controller.enqueue(bytes as Uint8Array<ArrayBuffer>),
  })
  const { value } = await source.getReader().read()
  await expectMoved(value as Uint8Array)
})

test.runIf(hasTransfer)('what the prototype of ArrayBuffer moved stays mapped', async () => {
  const { transfer } = ArrayBuffer.prototype as Movable
  await expectMoved(new Uint8Array(transfer.call(bytes.buffer)))
})
