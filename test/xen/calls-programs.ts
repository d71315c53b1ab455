import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const execute = promisify(execFile)
const source = (name: string): string =>
  fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url))

/** What makes dom0 write theirs.calls and ours.calls, once it has the files of compileCalls. */
export const CALLS_COMMANDS: readonly string[] = [
  'cd /payload',
  'dom0/tracer dom0/libxen 0 2>/host/theirs.calls',
  'dom0/tracer node dom0/ours.mjs 0 2>/host/ours.calls',
]

/** Compiles the programs into a folder; answers the files that a domain needs. */
export async function compileCalls(folder: string): Promise<string[]> {
  const words = ['-std=gnu11', '-O1', '-Wall', '-Wextra', '-Werror']
  const [tracer, libxen] = [join(folder, 'tracer'), join(folder, 'libxen')]
  await execute('gcc', [...words, '-static', '-o', tracer, source('tracer.c')])
  try {
    // Of Xen's libraries, every domain of the test bed has those that xl needs.
    const libraries = ['-lxengnttab', '-lxenevtchn']
    await execute('gcc', [...words, '-o', libxen, source('libxen.c'), ...libraries])
  } catch (cause) {
    const fix = 'apt-get install --no-install-recommends libxen-dev'
    throw new Error(`libxen.c cannot be compiled; for Xen's headers: ${fix}`, { cause })
  }
  return [tracer, libxen, source('ours.mjs')]
}
