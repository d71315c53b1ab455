import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished } from 'vitest'
import { test } from './machine-test.ts'

const FIXTURE = fileURLToPath(new URL('./fixtures/notifier.mjs', import.meta.url))

/** So that nothing but the program itself makes system calls in its main thread. */
const QUIET = ['--single-threaded', '--jitless']

/** The system calls of a Node program's main thread, as strace writes them. */
async function traced(words: readonly string[], env: NodeJS.ProcessEnv): Promise<string[]> {
  const directory = mkdtempSync(join(tmpdir(), 'interdom-trace-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'trace')
  try {
    const command = ['-o', file, process.execPath, ...QUIET, ...words]
    await promisify(execFile)('strace', command, { env: { ...process.env, ...env } })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new Error('this test needs strace: apt-get install strace')
  }
  return readFileSync(file, 'utf8').split('\n')
}

function between(trace: readonly string[], from: string, to: string): string[] {
  const at = (mark: string) => trace.findIndex(line => line.startsWith(`write(1, "${mark}\\n"`))
  expect(at(from)).toBeGreaterThan(0)
  expect(at(to)).toBeGreaterThan(at(from))
  return trace.slice(at(from) + 1, at(to))
}

test('a notification while one is pending makes no system call, another makes one', async ({
  machine,
}) => {
  using xen = await machine.connect({ domid: 2 })
  using unheard = xen.evtchn.bindUnbound({ to: 1 })
  using heard = xen.evtchn.bindUnbound({ to: 1 })
  const answering = (async () => {
    for await (const _ of heard.events()) heard.notify()
  })()
  const trace = await traced([FIXTURE, String(unheard.port), String(heard.port)], machine.env(1))
  expect(between(trace, 'pending', 'idle')).toEqual([])
  expect(between(trace, 'idle', 'end')).toEqual([
    expect.stringMatching(/^write\(\d+, "[^"]+", 4\) += 4$/),
  ])
  await unheard.pending()
  heard.close()
  await answering
})
