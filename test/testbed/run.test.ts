import { expect, test } from 'vitest'
import { run } from '../../src/testbed/run.ts'

// All of this is refused before anything is looked for or built.
test('a run refuses what cannot be', async () => {
  await expect(run({ guests: 6 })).rejects.toThrow('0 to 5 guests, not 6')
  await expect(run({ guests: 1.5 })).rejects.toThrow(RangeError)
  await expect(run({ guests: ['', '', '', '', '', ''] })).rejects.toThrow(RangeError)
  await expect(run({ payload: '/nowhere' })).rejects.toThrow('not a folder: /nowhere')
  await expect(run({ payload: process.execPath })).rejects.toThrow(TypeError)
  await expect(run({ timeoutSeconds: 0 })).rejects.toThrow('up to 86400 s, not 0')
  await expect(run({ timeoutSeconds: Number.NaN })).rejects.toThrow(RangeError)
  await expect(run({ guestKernelArgs: 'a="b"' })).rejects.toThrow('no quote')
})
