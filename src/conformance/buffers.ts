import assert from 'node:assert/strict'
import type { CaseContext } from './context.ts'
import type { Region } from './region.ts'
import { copyByPipe, mlock, msync, processVmRead } from './system-calls.ts'
import { refused } from './verdict.ts'

/**
 * Asserts that the kernel reads and writes two pages as it does any memory, msync excepted, and
 * pins them unless they are bare frames.
 */
export async function expectBuffer(t: CaseContext, from: Region, into: Region): Promise<void> {
  const bytes = Uint8Array.of(1, 2, 3, 4)
  await from.storeBytes(0, bytes)
  await copyByPipe(from, into, bytes.length)
  assert.deepEqual(await into.bytes(0, bytes.length), bytes)
  const pinned = processVmRead(from, bytes.length)
  if (t.profile.mapsBareFrames) await assert.rejects(pinned, /EFAULT/)
  else assert.deepEqual(await pinned, bytes)
  await refused('EINVAL', msync(from))
  assert.equal(await mlock(from), 0)
}
