import { Socket } from 'node:net'
import { DEVICE_NAMES, type DeviceName } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { ClosedError, type ErrorFacts, XenError } from '../base/errors.ts'
import { load } from '../memory/atomics.ts'
import type { Capability, Device, OpenOptions, Platform, Result } from '../platform.ts'
import { CAPABILITIES } from '../platform.ts'
import { CallSocket, isAbsence } from './call-socket.ts'
import { domainPath } from './directory.ts'
import { InboxWriters } from './event-client.ts'
import { HostDevice } from './host-device.ts'
import { HostMemory } from './host-memory.ts'
import { mapFile, type SharedFile } from './memfd.ts'
import { OpenFile } from './open-file.ts'
import { giveOrder } from './orders.ts'
import { OP, WIRE_MAGIC, WIRE_VERSION } from './wire.ts'

export interface HostPlatformOptions {
  /** Directory of the host. */
  readonly directory: string
  /** The domain to be a process of; made if there is none yet. */
  readonly domid: number
}

const ACCESS = { read: 0, write: 1, readwrite: 2 } as const

/** What a Node process on a host cannot do is what it cannot do on real Xen. */
const LACKING: ReadonlySet<Capability> = new Set(CAPABILITIES)

/**
 * A process of a domain of a simulated machine. Every call blocks for a round trip to the host,
 * but for notifications and the reading of events, which go from process to process.
 */
export class HostPlatform implements Platform {
  readonly name = 'host'
  readonly domid: number
  readonly kind: 'pv' | 'hvm'
  readonly profile: string
  readonly capabilities: ReadonlySet<Capability> = new Set(
    CAPABILITIES.filter(capability => !LACKING.has(capability)),
  )
  readonly memory: HostMemory
  readonly socket: CallSocket
  readonly writers: InboxWriters = new InboxWriters()
  readonly #devices = new Set<HostDevice>()
  readonly #lifeline: Socket
  /** The host's word on limits: u32 gntdev.limit. */
  readonly #limits: SharedFile
  #isClosed = false

  constructor({ directory, domid }: HostPlatformOptions) {
    this.socket = enter(directory, domid)
    this.socket.begin(OP.hello).u32(WIRE_MAGIC).u32(WIRE_VERSION)
    const { result, body, fds } = this.socket.call()
    const [lifeline, limits] = fds
    if (result < 0 || lifeline === undefined || limits === undefined) {
      const theirs = result === -ERRNO.EPROTO ? body.u32() : undefined
      this.socket.close()
      throw new XenError(Math.min(result, -1), 'connect host', {
        path: directory,
        fix:
          theirs === undefined
            ? 'no host answers there: "interdom host start"'
            : `this client speaks version ${WIRE_VERSION} and the host version ${theirs}; ` +
              'stop it with "interdom host stop" and start it again',
      })
    }
    body.u32()
    this.domid = body.u32()
    this.kind = body.u32() === 0 ? 'pv' : 'hvm'
    this.profile = body.text()
    this.#limits = mapped(limits)
    this.memory = new HostMemory(this.socket)
    this.#lifeline = new Socket({ fd: lifeline })
    this.#lifeline.on('close', () => this.#hostDied())
    this.#lifeline.on('error', () => undefined)
    this.#lifeline.resume()
    this.#lifeline.unref()
  }

  open(name: DeviceName, { access, nonblock }: OpenOptions): Device | Result {
    this.#assertOpen()
    const request = this.socket.begin(OP.open).u32(DEVICE_NAMES.indexOf(name))
    request.u32(ACCESS[access]).u32(nonblock ? 1 : 0)
    const { result } = this.socket.call()
    if (result < 0) return result
    return this.adopt(new HostDevice(this, new OpenFile(this, name, access, nonblock), result))
  }

  /** Pages of one MAP_GRANT_REF, as the host has it now. */
  get gntdevLimit(): number {
    return load(this.#limits.words, 0)
  }

  explain(): ErrorFacts | undefined {
    return this.socket.death
  }

  adopt(device: HostDevice): HostDevice {
    this.#devices.add(device)
    return device
  }

  release(device: HostDevice): void {
    this.#devices.delete(device)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    // The host releases what this process leaves, in the order of a kernel: its socket tells.
    this.socket.close()
    for (const device of [...this.#devices]) device.close()
    this.memory.close()
    this.#limits.close()
    this.#lifeline.destroy()
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new ClosedError('the platform')
  }

  #hostDied(): void {
    if (this.#isClosed) return
    this.socket.die('the host is gone')
    for (const device of this.#devices) device.hostDied()
  }
}

/** Connects to a domain's socket, and has the domain made when there is none. */
function enter(directory: string, domid: number): CallSocket {
  const path = domainPath(directory, domid)
  try {
    return new CallSocket(path)
  } catch (error) {
    if (!(error instanceof XenError) || !isAbsence(error.errno)) throw error
    giveOrder(directory, { order: 'domain', domid })
    return new CallSocket(path)
  }
}

function mapped(limits: number): SharedFile {
  const file = mapFile(limits, PAGE_SIZE, false)
  if (typeof file === 'number') throw new XenError(file, 'mmap host limits')
  return file
}
