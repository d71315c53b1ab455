import type { DeviceName } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import { MODULES } from '../abi/modules.ts'
import { ClosedError, type ErrorFacts } from '../base/errors.ts'
import { Ranges } from '../memory/ranges.ts'
import { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } from '../native/files.ts'
import type { Capability, Device, Memory, OpenOptions, Platform, Result } from '../platform.ts'
import { type DeviceContext, LinuxDevice } from './linux-device.ts'
import { AllocGuard, type MmapGuard, SelfGrantGuard } from './mmap-guard.ts'
import { readOwnDomid } from './own-domid.ts'
import { realSystem, type System } from './system.ts'

export interface LinuxOptions {
  /** This domain's id, where the xenstore is not to be asked for it. */
  readonly domid?: number | undefined
  /**
   * Lets gntalloc map across two ALLOC results, which corrupts the kernel's memory when any other
   * process allocates at the time. For case 249 of the conformance suite, on a quiet system.
   */
  readonly unsafeSpans?: boolean
}

const ACCESS = { read: O_RDONLY, write: O_WRONLY, readwrite: O_RDWR }

/** The real devices of the Xen domain that this process runs in. Opens nothing yet. */
export function linux(options: LinuxOptions = {}, system: System = realSystem): Platform {
  return new LinuxPlatform(options, system)
}

class LinuxPlatform implements Platform {
  readonly name = 'linux'
  /** A process of Node is no puppet that forks, and this is one domain, to be kept alive. */
  readonly capabilities: ReadonlySet<Capability> = new Set()
  readonly #options: LinuxOptions
  readonly #system: System
  readonly #memory = new Ranges()
  readonly #devices = new Set<LinuxDevice>()
  #domid: number | undefined
  #refusal: ErrorFacts | undefined
  #isClosed = false

  constructor(options: LinuxOptions, system: System) {
    this.#options = options
    this.#system = system
    this.#domid = options.domid
  }

  get memory(): Memory {
    return this.#memory
  }

  /** Asks the xenstore when it was not given, once. Throws a XenError where there is none. */
  get domid(): number {
    this.#domid ??= readOwnDomid(this.#system)
    return this.#domid
  }

  /** PVH is HVM here. An unknown kind too: that is the one with something to refuse. */
  get kind(): 'pv' | 'hvm' {
    return this.#system.readText('/sys/hypervisor/guest_type') === 'PV' ? 'pv' : 'hvm'
  }

  open(name: DeviceName, { access, nonblock }: OpenOptions): Device | Result {
    if (this.#isClosed) throw new ClosedError('platform linux')
    this.#refusal = undefined
    const path = `/dev/xen/${name}`
    const fd = this.#system.open(path, ACCESS[access] | (nonblock ? O_NONBLOCK : 0))
    if (fd < 0) {
      this.#refusal = this.#explainOpen(name, path, fd)
      return fd
    }
    const context: DeviceContext = {
      system: this.#system,
      memory: this.#memory,
      guard: this.#guardFor(name),
      adopt: device => this.#devices.add(device),
      release: device => this.#devices.delete(device),
    }
    const device = new LinuxDevice(name, fd, context)
    this.#devices.add(device)
    return device
  }

  explain(): ErrorFacts | undefined {
    return this.#refusal
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#memory.close()
    for (const device of [...this.#devices].sort((a, b) => b.fd - a.fd)) device.close()
  }

  #guardFor(name: DeviceName): MmapGuard | undefined {
    if (name === 'gntalloc') return this.#options.unsafeSpans ? undefined : new AllocGuard()
    if (name === 'gntdev' && this.kind === 'hvm') return new SelfGrantGuard(() => this.domid)
    return undefined
  }

  #explainOpen(name: DeviceName, path: string, errno: number): ErrorFacts {
    const isXen = this.#system.readText('/sys/hypervisor/type') === 'xen'
    const elsewhere = 'this is no Xen domain: use a host (interdom host start), or run it in one'
    switch (errno) {
      case -ERRNO.ENOENT:
      case -ERRNO.ENODEV:
      case -ERRNO.ENXIO:
        return { path, fix: isXen ? `load the driver: modprobe ${MODULES[name]}` : elsewhere }
      case -ERRNO.EACCES:
      case -ERRNO.EPERM:
        return { path, fix: 'run as root, or give this user the files in /dev/xen by a udev rule' }
      case -ERRNO.EMFILE:
        return { path, fix: 'close some descriptors, or raise the limit (ulimit -n)' }
      default:
        return { path }
    }
  }
}
