import assert from 'node:assert/strict'
import type { Region } from './region.ts'
import { copyByPipe, mlock, msync, processVmRead } from './system-calls.ts'
import { refused } from './verdict.ts'

/** Asserts that the kernel reads and writes two pages as it does any memory, msync excepted. */
export async function expectBuffer(from: Region, into: Region): Promise<void> {
  const bytes = Uint8Array.of(1, 2, 3, 4)
  await from.storeBytes(0, bytes)
  await copyByPipe(from, into, bytes.length)
  assert.deepEqual(await into.bytes(0, bytes.length), bytes)
  assert.deepEqual(await processVmRead(from, bytes.length), bytes)
  await refused('EINVAL', msync(from))
  assert.equal(await mlock(from), 0)
}
