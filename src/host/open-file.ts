import { ClosedError } from '../base/errors.ts'
import { Waiters } from '../base/waiters.ts'
import { Poller } from '../native/poller.ts'
import type { Access, DeviceName } from '../platform.ts'
import { EventClient } from './event-client.ts'
import { AllocMirror, MapMirror } from './grant-mirror.ts'
import type { HostPlatform } from './host-platform.ts'

/** An open file description of this process: what its descriptors share. */
export class OpenFile {
  readonly name: DeviceName
  readonly access: Access
  readonly nonblock: boolean
  readonly events: EventClient | undefined
  /** Of gntalloc: what was allocated through it. */
  readonly allocations: AllocMirror | undefined
  /** Of gntdev: which maps it has. */
  readonly maps: MapMirror | undefined
  readonly waiters: Waiters
  readonly #platform: HostPlatform
  #poller: Poller | undefined
  #isReferenced = true
  #descriptors = 0

  constructor(platform: HostPlatform, name: DeviceName, access: Access, nonblock: boolean) {
    this.#platform = platform
    this.name = name
    this.access = access
    this.nonblock = nonblock
    this.waiters = new Waiters(isWaiting => this.#watch(isWaiting))
    this.allocations = name === 'gntalloc' ? new AllocMirror() : undefined
    this.maps = name === 'gntdev' ? new MapMirror() : undefined
    if (name !== 'evtchn') return
    this.events = new EventClient(platform.socket, platform.writers, () => this.waiters.wake())
  }

  opened(): void {
    this.#descriptors++
  }

  closed(): void {
    if (--this.#descriptors > 0) return
    this.waiters.fail(new ClosedError(`/dev/xen/${this.name}`))
    this.#poller?.close()
    this.allocations?.closed()
    this.events?.close()
  }

  ref(isReferenced: boolean): void {
    this.#isReferenced = isReferenced
    if (isReferenced) this.#poller?.ref()
    else this.#poller?.unref()
  }

  #watch(isWaiting: boolean): void {
    if (!this.events) return
    if (!isWaiting) {
      this.#poller?.disarm()
      return
    }
    this.#poller ??= new Poller(this.events.epoll, () => this.#look())
    if (!this.#isReferenced) this.#poller.unref()
    this.#poller.arm()
  }

  /** Something arrived in an inbox: it may wake the waiters, or be a hostile sender's nothing. */
  #look(): void {
    if (this.#platform.socket.isDead) return
    this.events?.drain()
    if (this.waiters.isWaiting) this.#poller?.arm()
  }
}
