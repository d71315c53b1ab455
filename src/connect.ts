import { readFileSync } from 'node:fs'
import { Connection } from './connection.ts'
import type { Platform } from './platform.ts'
import { type ConnectOptions, choosePlatform, type PlatformChoice } from './platform-choice.ts'

/**
 * A connection to this process's domain: on real Xen, on a host, or on a platform object of your
 * own, which then stays open when the connection is closed.
 *
 * `platform`, else `INTERDOM_PLATFORM`, else real Xen if we are in a Xen domain, else the host
 * named by `host` or `INTERDOM_HOST`. Never a simulator in silence.
 *
 * @throws XenError ENODEV when there is neither Xen nor a named host. TypeError without the domid
 * that a host needs.
 */
export async function connect(options: ConnectOptions = {}): Promise<Connection> {
  const choice = choosePlatform(options, { env: process.env, hypervisorType: hypervisorType() })
  if (choice.kind === 'given') return new Connection(choice.platform)
  return new Connection(await openPlatform(choice), { closePlatform: true })
}

/** The platforms are loaded when they are wanted: a world needs neither koffi nor sockets. */
async function openPlatform(choice: Exclude<PlatformChoice, { kind: 'given' }>): Promise<Platform> {
  if (choice.kind === 'linux') {
    const { linux } = await import('./linux/linux.ts')
    return linux({ domid: choice.domid })
  }
  const { connectHost } = await import('./host/index.ts')
  return connectHost(choice)
}

function hypervisorType(): string | undefined {
  try {
    return readFileSync('/sys/hypervisor/type', 'utf8').trim()
  } catch {
    return undefined
  }
}
