import { ClosedError } from '../base/errors.ts'
import { Waiters } from '../base/waiters.ts'
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
  #isReferenced = true
  #isHolding = false
  #descriptors = 0

  constructor(platform: HostPlatform, name: DeviceName, access: Access, nonblock: boolean) {
    this.#platform = platform
    this.name = name
    this.access = access
    this.nonblock = nonblock
    this.waiters = new Waiters(isWaiting => {
      this.events?.listen(isWaiting)
      this.#hold()
    })
    this.allocations = name === 'gntalloc' ? new AllocMirror() : undefined
    const { profile, socket, writers } = platform
    // Whether a limit for all maps together still has room, only the host knows.
    this.maps = name === 'gntdev' && profile.limitsEachMap ? new MapMirror() : undefined
    if (name !== 'evtchn') return
    this.events = new EventClient(profile, socket, writers, () => this.waiters.wake())
  }

  opened(): void {
    this.#descriptors++
  }

  closed(): void {
    if (--this.#descriptors > 0) return
    this.waiters.fail(new ClosedError(`/dev/xen/${this.name}`))
    this.allocations?.closed()
    this.maps?.closed()
    this.events?.close()
  }

  /** Whether a wait keeps the process alive. */
  ref(isReferenced: boolean): void {
    this.#isReferenced = isReferenced
    this.#hold()
  }

  #hold(): void {
    const isHolding = this.#isReferenced && this.waiters.isWaiting
    if (isHolding !== this.#isHolding) this.#platform.hold(isHolding)
    this.#isHolding = isHolding
  }
}
