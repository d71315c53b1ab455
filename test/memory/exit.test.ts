import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const fixture = fileURLToPath(new URL('./fixtures/exit.mjs', import.meta.url))

// A signal or an exit code other than 0 rejects.
for (const scenario of ['open', 'process-exit', 'tombstones', 'collected', 'worker', 'churn']) {
  test(`a process that ends with memory of every kind ends in order: ${scenario}`, async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--expose-gc',
      fixture,
      scenario,
    ])
    expect(stdout).toBe(`${scenario} done\n`)
  })
}
