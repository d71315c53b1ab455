import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { withLock } from '../../src/testbed/lock.ts'

test('a second holder waits for the first, also when that fails', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'interdom-lock-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'deep', 'lock')
  const events: string[] = []
  let second: Promise<void> | undefined
  const first = withLock(path, async () => {
    events.push('first in')
    second = withLock(path, async () => void events.push('second in'))
    // A whole other lock is taken and left: time enough for the second, if it did not wait.
    await withLock(join(folder, 'other'), async () => undefined)
    events.push('first out')
    throw new Error('failed')
  })
  await expect(first).rejects.toThrow('failed')
  await second
  expect(events).toEqual(['first in', 'first out', 'second in'])
})
