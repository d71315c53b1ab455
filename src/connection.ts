import type { GrantName } from './abi/gntdev.ts'
import { inspectAsText } from './base/inspect.ts'
import { Owner } from './base/owner.ts'
import { openDevice } from './device-call.ts'
import { EventChannels } from './evtchn/event-channels.ts'
import type { CopyStatus, GrantCopy } from './grant/copy.ts'
import { Grants, type MapOptions, type ShareOptions } from './grant/grants.ts'
import type { Mapping, ReadOnlyMapping } from './grant/mapping.ts'
import type { Share } from './grant/share.ts'
import type { Address, Device, DeviceName, OpenOptions, Platform } from './platform.ts'

/**
 * A program's hold on its domain: what it shares, maps and binds, as one tree. Closing it closes
 * all of that, newest first; the end of the process, however it ends, does the same.
 *
 * Devices are opened when first used, so a program that only maps needs nothing but gntdev.
 */
export class Connection {
  static {
    inspectAsText(Connection.prototype)
  }

  /** The seam below: open its devices with {@link open}, reach its memory through `memory`. */
  readonly platform: Platform
  /** Event channels. */
  readonly evtchn: EventChannels
  readonly #owner: Owner
  readonly #grants: Grants
  readonly #devices = new Map<DeviceName, Device>()
  readonly #closePlatform: boolean

  /** Prefer `connect`. The platform is closed with the connection only when that is asked for. */
  constructor(platform: Platform, { closePlatform = false }: { closePlatform?: boolean } = {}) {
    this.platform = platform
    this.#closePlatform = closePlatform
    this.#owner = new Owner('the connection')
    this.#grants = new Grants(platform, this.#owner, name => this.#device(name))
    this.evtchn = new EventChannels(this.#owner, () => this.#device('evtchn'))
  }

  /**
   * This process's domain. On real Xen it is read from the xenstore when first asked for.
   *
   * @throws XenError when there is no xenstore to ask.
   */
  get domid(): number {
    return this.platform.domid
  }

  get isClosed(): boolean {
    return this.#owner.isClosed
  }

  /**
   * Grants `pages` new zeroed pages to domain `to`, which need not exist yet; all of them or none.
   *
   * @throws XenError ENOSPC at the limit of gntalloc or of the grant table, ENOMEM.
   */
  share(options: ShareOptions): Share {
    return this.#grants.share(options)
  }

  /**
   * Maps grants of other domains, one or many, also of several domains, one behind the other; all
   * of them or none. Read-only unless `writable: true`, which the granter must have allowed.
   *
   * @throws XenError EINVAL when any of them cannot be mapped, ENOMEM.
   */
  map(grants: GrantName | readonly GrantName[], options: { writable: true }): Mapping
  map(grants: GrantName | readonly GrantName[], options?: { writable?: false }): ReadOnlyMapping
  map(grants: GrantName | readonly GrantName[], options?: MapOptions): Mapping | ReadOnlyMapping
  map(grants: GrantName | readonly GrantName[], options?: MapOptions): Mapping | ReadOnlyMapping {
    return this.#grants.map(grants, options)
  }

  /**
   * The index and the page count of the gntdev mapping at an address, or of the next one above it:
   * the driver does not look whether the address lies inside.
   *
   * @throws XenError EINVAL when there is none.
   */
  offsetForAddress(address: Address): { offset: number; count: number } {
    return this.#grants.offsetForAddress(address)
  }

  /**
   * Copies between granted pages and bytes of ours, or between granted pages, without mapping
   * them. Answers one status for each segment, in order: look at each.
   *
   * @throws XenError when the call as a whole failed. Some segments may then have been copied, and
   * which ones cannot be known.
   */
  copy(copies: readonly GrantCopy[]): CopyStatus[] {
    return this.#grants.copy(copies)
  }

  /**
   * A descriptor of a device file of its own, for programs that were C: `ioctl`, `mmap`, `read`,
   * `write`, as platform.ts says. Closed with the connection.
   *
   * @throws XenError ENOENT without such a file, EACCES.
   */
  open(device: DeviceName, options: Partial<OpenOptions> = {}): Device {
    this.#owner.assertOpen()
    const { access = 'readwrite', nonblock = false } = options
    return this.#owner.adopt(openDevice(this.platform, device, { access, nonblock }))
  }

  /** Closes everything of this connection, newest first. Idempotent. */
  close(): void {
    if (this.#owner.isClosed) return
    try {
      this.#owner.close()
    } finally {
      if (this.#closePlatform) this.platform.close()
    }
  }

  [Symbol.dispose](): void {
    this.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }

  toString(): string {
    const state = this.isClosed ? ', closed' : ''
    return `Connection <${domainOf(this.platform)} on ${this.platform.name}${state}>`
  }

  /** The one descriptor that the typed calls share. */
  #device(name: DeviceName): Device {
    const opened = this.#devices.get(name)
    if (opened) return opened
    const device = this.open(name, { nonblock: name === 'evtchn' })
    this.#devices.set(name, device)
    return device
  }
}

/** Printing must not fail, though asking for the domid may. */
function domainOf(platform: Platform): string {
  try {
    return `domain ${platform.domid}`
  } catch {
    return 'domain unknown'
  }
}
