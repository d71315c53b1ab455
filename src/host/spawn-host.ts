import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { entryPoint } from '../base/entry-point.ts'
import type { ProfileName } from '../kernel/profiles.ts'
import { logPath, prepareDirectory } from './directory.ts'

export interface HostOptions {
  readonly directory: string
  readonly kernel?: ProfileName
  /** Limits of every domain, by name: `{ 'gntalloc.limit': 8 }`. Pages. */
  readonly limits?: Readonly<Record<string, number>>
  readonly clock?: 'real' | 'manual'
  /** Leave after so many milliseconds without a client; 0 (the default) stays. */
  readonly idleMs?: number
  /** Outlive this process: no terminal, no inherited descriptor, a log file. */
  readonly daemon?: boolean
  /** The directory goes with the host. */
  readonly isTemporary?: boolean
}

/**
 * Starts a host as a process of its own and resolves once its sockets are there; never in this
 * process, since a call blocks its thread until the host has answered. Rejects with the host's own
 * sentence when it cannot start. Unless it is a daemon it ends with this process, even by SIGKILL.
 */
export async function spawnHost(options: HostOptions): Promise<ChildProcess> {
  const directory = resolve(options.directory)
  prepareDirectory(directory)
  const { daemon = false, kernel = 'linux-6.12', limits = {}, clock = 'real' } = options
  const argument = JSON.stringify({
    directory,
    kernel,
    limits,
    clock,
    idleMs: options.idleMs ?? 0,
    lifeline: !daemon,
    isTemporary: options.isTemporary ?? false,
  })
  const log = daemon ? openSync(logPath(directory), 'a', 0o600) : undefined
  const program = entryPoint(import.meta.url, './server-main.js')
  const child = spawn(process.execPath, [program.pathname, argument], {
    stdio: [daemon ? 'ignore' : 'pipe', 'pipe', log ?? 'inherit'],
    detached: daemon,
    cwd: '/',
  })
  if (log !== undefined) closeSync(log)
  await readiness(child)
  child.unref()
  return child
}

/** Waits for the first line: `ready`, or what went wrong. */
async function readiness(child: ChildProcess): Promise<void> {
  const { stdout } = child
  if (!stdout) throw new Error('the host has no standard output')
  const lines = createInterface({ input: stdout })
  const first = await new Promise<string>((resolve, reject) => {
    lines.once('line', resolve)
    child.once('error', reject)
    child.once('close', code => reject(new Error(`the host ended with exit code ${code}`)))
  })
  lines.close()
  child.removeAllListeners('close')
  if (first !== 'ready') throw new Error(first)
  stdout.destroy()
  const stdin = child.stdin as (NodeJS.WritableStream & { unref?: () => void }) | null
  stdin?.unref?.()
}
