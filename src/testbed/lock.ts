import { spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { TestbedError } from './failure.ts'

/** Of util-linux, hence on every Debian. */
const locker = 'flock'

/**
 * Runs something while no other process does so under the same file. The lock is held by a child
 * that lives as long as its standard input: whatever becomes of this process, the kernel lets go.
 */
export async function withLock<T>(path: string, action: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true })
  const holder = spawn(locker, ['-x', path, 'sh', '-c', 'echo locked; exec cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  const ended = new Promise<void>(resolve => holder.once('close', () => resolve()))
  await new Promise<void>((resolve, reject) => {
    holder.stdout.once('data', () => resolve())
    holder.once('error', reject)
    holder.once('exit', code =>
      reject(new TestbedError('ERR_TESTBED_IMAGE', `flock ${path}: exit code ${code}`)),
    )
  })
  try {
    return await action()
  } finally {
    holder.stdin.end()
    await ended
  }
}
