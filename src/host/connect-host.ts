import { resolve } from 'node:path'
import { XenError } from '../base/errors.ts'
import { isAbsence } from './call-socket.ts'
import { hostDirectory } from './directory.ts'
import { HostPlatform } from './host-platform.ts'
import { spawnHost } from './spawn-host.ts'

/** A host that was started by its first client leaves when it had none for so long. */
export const IDLE_HOST_MS = 30_000

export interface ConnectHostOptions {
  readonly domid: number
  /** Directory of the host; left out: the usual one, see `hostDirectory`. */
  readonly directory?: string | undefined
  /** Start a host when none runs there. */
  readonly start?: boolean | undefined
}

/**
 * Becomes a process of a domain of the host in a directory. Throws a XenError that names the
 * directory: ENOENT or ECONNREFUSED when no host runs there and none was to be started.
 */
export async function connectHost(options: ConnectHostOptions): Promise<HostPlatform> {
  const directory = resolve(hostDirectory(options.directory))
  const { domid } = options
  try {
    return new HostPlatform({ directory, domid })
  } catch (error) {
    const isAbsent = error instanceof XenError && isAbsence(error.errno)
    if (!isAbsent || !options.start) throw error
  }
  await ensureHost(directory)
  return new HostPlatform({ directory, domid })
}

/** Starts a host unless one runs there, or another client just started one. */
export async function ensureHost(directory: string): Promise<void> {
  try {
    await spawnHost({ directory, daemon: true, idleMs: IDLE_HOST_MS })
  } catch (error) {
    if (!String(error).includes('EADDRINUSE')) throw error
  }
}
