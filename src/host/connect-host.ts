import { resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { XenError } from '../base/errors.ts'
import { isAbsence } from './call-socket.ts'
import { hostDirectory } from './directory.ts'
import { HostPlatform } from './host-platform.ts'
import { giveOrder } from './orders.ts'
import { spawnHost } from './spawn-host.ts'

/** A host that was started by its first client leaves when it had none for so long. */
export const IDLE_HOST_MS = 30_000
/** How long a host may take from its lock to its sockets. */
const START_TIMEOUT_MS = 10_000
const START_TURN_MS = 20

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

/**
 * Resolves once a host runs in a directory: one that is there, one that another client is just
 * starting, or a new one, which leaves when it is idle.
 */
export async function ensureHost(directory: string): Promise<void> {
  const end = performance.now() + START_TIMEOUT_MS
  for (;;) {
    try {
      giveOrder(directory, { order: 'status' })
      return
    } catch (error) {
      if (!(error instanceof XenError) || !isAbsence(error.errno)) throw error
    }
    try {
      await spawnHost({ directory, daemon: true, idleMs: IDLE_HOST_MS })
    } catch (error) {
      // Somebody holds the lock who does not listen yet: the start of another client.
      const isStarting = error instanceof Error && error.message.includes('EADDRINUSE')
      if (!isStarting || performance.now() > end) throw error
      await delay(START_TURN_MS)
    }
  }
}
