import { rmSync, writeFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { ERRNO } from '../abi/errno.ts'
import { checked, XenError } from '../base/errors.ts'
import { isProfileName } from '../kernel/profiles.ts'
import { eventfd, flock, LOCK_EX, LOCK_NB, O_CREAT, O_RDWR, open, write } from '../native/files.ts'
import { lockPath, prepareDirectory, recordPath } from './directory.ts'
import type { ServerOptions } from './server.ts'
import { WIRE_VERSION } from './wire.ts'

/**
 * The program of a host. One argument: its options as JSON. It says `ready` or one line of what
 * went wrong on its standard output, and leaves on SIGTERM, SIGINT, an order, idleness, or, when it
 * was started with `lifeline`, at the end of its standard input.
 */
interface HostProgram extends ServerOptions {
  readonly lifeline: boolean
  /** The directory was made for this host and goes with it. */
  readonly isTemporary: boolean
}

function readOptions(argument: string | undefined): HostProgram {
  const options = JSON.parse(argument ?? '{}') as Partial<HostProgram>
  const { directory, kernel, clock } = options
  if (typeof directory !== 'string' || kernel === undefined || !isProfileName(kernel)) {
    throw new TypeError('a host is started by "interdom host start" or startHost()')
  }
  return {
    directory,
    kernel,
    limits: options.limits ?? {},
    clock: clock === 'manual' ? 'manual' : 'real',
    idleMs: options.idleMs ?? 0,
    lifeline: options.lifeline === true,
    isTemporary: options.isTemporary === true,
  }
}

/** Takes the directory: only one host at a time may hold its lock. */
function takeDirectory(directory: string): void {
  prepareDirectory(directory)
  const lock = checked(open(lockPath(directory), O_RDWR | O_CREAT), 'open lock', () => ({
    path: lockPath(directory),
  }))
  if (flock(lock, LOCK_EX | LOCK_NB) === -ERRNO.EAGAIN) {
    throw new XenError(-ERRNO.EADDRINUSE, 'host start', {
      path: directory,
      fix: 'a host runs there already; "interdom host status" shows it',
    })
  }
  const record = { pid: process.pid, version: WIRE_VERSION, startedAt: new Date().toISOString() }
  writeFileSync(recordPath(directory), `${JSON.stringify(record)}\n`, { mode: 0o600 })
}

function main(): void {
  const options = readOptions(process.argv[2])
  takeDirectory(options.directory)
  const stopFd = checked(eventfd(0), 'eventfd')
  const stop = (): void => {
    write(stopFd, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]))
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  process.on('SIGHUP', () => undefined)
  const worker = new Worker(new URL('./server-worker.js', import.meta.url), {
    workerData: { options, stopFd },
  })
  worker.on('message', () => console.log('ready'))
  worker.on('error', error => {
    console.log(`host failed: ${error.message}`)
    process.exit(1)
  })
  worker.on('exit', () => {
    const { directory, isTemporary } = options
    rmSync(isTemporary ? directory : recordPath(directory), { recursive: true, force: true })
    process.exit(process.exitCode ?? 0)
  })
  if (options.lifeline) process.stdin.on('end', stop).on('error', stop).resume()
}

try {
  main()
} catch (error) {
  console.log(error instanceof Error ? error.message : String(error))
  process.exit(1)
}
