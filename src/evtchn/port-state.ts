import { channel } from 'node:diagnostics_channel'
import { EVTCHN_UNBIND, encodeU32 } from '../abi/evtchn.ts'
import type { Dropped } from '../base/dropped.ts'
import type { Owner } from '../base/owner.ts'
import { Waiters } from '../base/waiters.ts'
import { releaseStep } from '../device-call.ts'
import type { Dispatcher } from './dispatcher.ts'

const unbindChannel = channel('interdom:evtchn:unbind')

/**
 * What the dispatcher knows of one port. It holds no reference to the {@link Port} that the
 * program holds, so a Port that is dropped can be collected, and is then released through this.
 * There are ports by the thousand that nobody awaits: what only a wait needs is made for the first.
 */
export class PortState implements Dropped {
  readonly port: number
  /** An event was read from the device that nobody has awaited yet; further ones merge into it. */
  pending = false
  isClosed = false
  /** Whether a wait on it keeps the process alive. */
  isRef = true
  readonly #dispatcher: Dispatcher
  readonly #owner: Owner
  #wire: Uint8Array | undefined
  #waiters: Waiters | undefined

  constructor(port: number, dispatcher: Dispatcher, owner: Owner) {
    this.port = port
    this.#dispatcher = dispatcher
    this.#owner = owner
  }

  get what(): string {
    return `port ${this.port}`
  }

  /** The port as write(2) and NOTIFY take it. */
  get wire(): Uint8Array {
    this.#wire ??= encodeU32(this.port)
    return this.#wire
  }

  /** Who awaits its next event; they tell the dispatcher when there are any. */
  get waiters(): Waiters {
    this.#waiters ??= new Waiters(isAwaited => this.#dispatcher.awaited(this, isAwaited))
    return this.#waiters
  }

  get isAwaited(): boolean {
    return this.#waiters?.isWaiting ?? false
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#owner.release(this)
    const failure = releaseStep(() => this.#unbind(), 'ioctl EVTCHN_UNBIND')
    if (unbindChannel.hasSubscribers) unbindChannel.publish({ port: this.port })
    if (failure) throw failure
  }

  #unbind(): number {
    this.#dispatcher.remove(this)
    return this.#dispatcher.device.ioctl(EVTCHN_UNBIND, encodeU32(this.port))
  }
}
