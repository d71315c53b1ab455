import { Socket } from 'node:net'
import { DEVICE_NAMES, type DeviceName } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { ClosedError, type ErrorFacts, XenError } from '../base/errors.ts'
import { isProfileName, type KernelProfile, PROFILES } from '../kernel/profiles.ts'
import { load } from '../memory/atomics.ts'
import { close } from '../native/files.ts'
import type { Capability, Device, OpenOptions, Platform, Result } from '../platform.ts'
import { CAPABILITIES } from '../platform.ts'
import { CallSocket, isAbsence, type Reply } from './call-socket.ts'
import { domainPath } from './directory.ts'
import { InboxWriters } from './event-client.ts'
import { HostDevice } from './host-device.ts'
import { HostMemory } from './host-memory.ts'
import { GREETING_TRIES } from './limits.ts'
import { mapFile, type SharedFile } from './memfd.ts'
import { OpenFile } from './open-file.ts'
import { giveOrder } from './orders.ts'
import { NO_FD, OP, WIRE_MAGIC, WIRE_VERSION } from './wire.ts'

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
  /** What its kernel does; some of that is done here. */
  readonly profile: KernelProfile
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
  /** Waits that keep the process alive. */
  #holders = 0
  #isClosed = false

  constructor({ directory, domid }: HostPlatformOptions) {
    const [socket, { result, body, fds }] = greet(directory, domid)
    this.socket = socket
    const [lifeline, limits] = fds
    if (result < 0 || lifeline === undefined || limits === undefined) {
      const theirs = result === -ERRNO.EPROTO ? body.u32() : undefined
      const ours = socket.death ?? socket.takeRefusal()
      const facts = theirs === undefined ? ours : versionFacts(theirs)
      for (const fd of fds) close(fd)
      socket.close()
      throw new XenError(Math.min(result, -1), 'connect host', { path: directory, ...facts })
    }
    body.u32()
    this.domid = body.u32()
    this.kind = body.u32() === 0 ? 'pv' : 'hvm'
    this.profile = profileNamed(body.text())
    this.#limits = mapped(limits)
    this.socket.openOutbox()
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

  /** Far enough from every limit that calls which take room cannot be refused. */
  get mayQueue(): boolean {
    return this.socket.hasOutbox && load(this.#limits.words, 1) === 1
  }

  /** Pages of one MAP_GRANT_REF, as the host has it now. */
  get gntdevLimit(): number {
    return load(this.#limits.words, 0)
  }

  /** One more wait keeps the process alive, or one less: by the lifeline, until the host ends. */
  hold(isHolding: boolean): void {
    this.#holders += isHolding ? 1 : -1
    if (isHolding && this.#holders === 1) this.#lifeline.ref()
    else if (this.#holders === 0) this.#lifeline.unref()
  }

  explain(): ErrorFacts | undefined {
    return this.explanation(NO_FD)
  }

  /** What the host knows about the last refusal of a descriptor. */
  explanation(fd: number): ErrorFacts | undefined {
    const known = this.socket.death ?? this.socket.takeRefusal()
    if (known) return known
    this.socket.begin(OP.explain).u32(fd)
    const { result, body } = this.socket.call()
    if (result < 0) return undefined
    return (JSON.parse(body.text()) as ErrorFacts | null) ?? undefined
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

/**
 * Enters a domain and greets its host. A domain of first use may leave with its last process just
 * as we come: then its socket ends before the host has said a word, and the next one is ours.
 */
function greet(directory: string, domid: number): [CallSocket, Reply] {
  for (let tries = 1; ; tries++) {
    const socket = enter(directory, domid)
    socket.begin(OP.hello).u32(WIRE_MAGIC).u32(WIRE_VERSION)
    const reply = socket.call()
    if (reply.result >= 0 || !socket.isEnded || tries === GREETING_TRIES) return [socket, reply]
    socket.close()
  }
}

/** Connects to a domain's socket, and has the domain made when there is none. */
function enter(directory: string, domid: number): CallSocket {
  const path = domainPath(directory, domid)
  for (let tries = 1; ; tries++) {
    try {
      return new CallSocket(path)
    } catch (error) {
      const isAbsent = error instanceof XenError && isAbsence(error.errno)
      if (!isAbsent || tries === GREETING_TRIES) throw error
    }
    giveOrder(directory, { order: 'domain', domid })
  }
}

/** A host of this version of the wire knows no other. */
function profileNamed(name: string): KernelProfile {
  if (!isProfileName(name)) throw new XenError(-ERRNO.EPROTO, `host with kernel ${name}`)
  return PROFILES[name]
}

function versionFacts(theirs: number): ErrorFacts {
  const [older, command] =
    theirs < WIRE_VERSION
      ? ['the host is older', 'stop it with "interdom host stop" and start it again']
      : ['this program is older', 'update its interdom, or start another host with --dir']
  const versions = `this client speaks version ${WIRE_VERSION} and the host version ${theirs}`
  return { fix: `${versions}: ${older}; ${command}` }
}

function mapped(limits: number): SharedFile {
  const file = mapFile(limits, PAGE_SIZE, false)
  if (typeof file === 'number') throw new XenError(file, 'mmap host limits')
  return file
}
