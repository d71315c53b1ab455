import { EVTCHN_NOTIFY } from '../abi/evtchn.ts'
import { closeDropped } from '../base/dropped.ts'
import { ClosedError } from '../base/errors.ts'
import { inspectAsText } from '../base/inspect.ts'
import { callDevice } from '../device-call.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { PortState } from './port-state.ts'

/** At module level, since V8 drops unreferenced ones; to unregister costs more than to leave it. */
const dropped = new FinalizationRegistry<PortState>(closeDropped)

/** How a wait ends before its event. */
export interface WaitOptions {
  /** Ends the wait: it rejects with the reason of the signal. */
  readonly signal?: AbortSignal
}

/**
 * One end of an event channel.
 *
 * An event carries nothing; it is a hint that something may have changed, and several merge into
 * one while nobody takes them. Take it with {@link events}, or in Xen's two steps: `pending` tells
 * of an event and leaves the port masked, `unmask` lets the next one through. Whoever looks at
 * shared memory does so after `unmask`, else a change right before it goes unseen.
 */
export class Port {
  static {
    inspectAsText(Port.prototype)
  }

  /** The port number in this domain: what the peer passes to bindInterdomain. */
  readonly port: number
  readonly #state: PortState
  readonly #dispatcher: Dispatcher

  constructor(state: PortState, dispatcher: Dispatcher) {
    this.port = state.port
    this.#state = state
    this.#dispatcher = dispatcher
    dropped.register(this, state)
  }

  get isClosed(): boolean {
    return this.#state.isClosed
  }

  /** Sends an event to the other end. Succeeds when nobody is there, as on Xen. */
  notify(): void {
    this.#assertOpen()
    const { device } = this.#dispatcher
    callDevice(device, EVTCHN_NOTIFY, this.#state.wire, { port: this.port })
  }

  /**
   * A turn for each event, or for several that merged; the port is re-armed before each turn, so
   * an event that comes during one is not lost but makes the next. Ends when the port is closed;
   * throws the reason of `signal` when that aborts, and a XenError EHOSTDOWN with the host.
   *
   * The end that called bindInterdomain gets its first turn at once, without any notify: so Xen.
   */
  async *events({ signal }: WaitOptions = {}): AsyncGenerator<void, void, undefined> {
    this.#assertOpen()
    while (!this.#state.isClosed) {
      try {
        await this.#dispatcher.next(this.#state, signal)
      } catch (error) {
        if (this.#state.isClosed && error instanceof ClosedError) return
        throw error
      }
      if (this.#state.isClosed) return
      this.#dispatcher.rearm(this.#state)
      yield
    }
  }

  /**
   * Resolves at the next event, at once when one came since the last was taken. The port stays
   * masked, so that no further event gets through, until {@link unmask}.
   */
  async pending({ signal }: WaitOptions = {}): Promise<void> {
    this.#assertOpen()
    await this.#dispatcher.next(this.#state, signal)
  }

  /** Lets the next event through, or the one that came while the port was masked. */
  unmask(): void {
    this.#assertOpen()
    this.#dispatcher.rearm(this.#state)
  }

  /** A wait on this port keeps the process alive: so it is unless `unref` was called. */
  ref(): this {
    this.#dispatcher.setRef(this.#state, true)
    return this
  }

  /** A wait on this port alone no longer keeps the process alive. */
  unref(): this {
    this.#dispatcher.setRef(this.#state, false)
    return this
  }

  /**
   * Unbinds the port; the other end turns unbound and is told nothing. While an unmap notification
   * holds it, the kernel keeps it open until that was sent. Idempotent.
   */
  unbind(): void {
    this.#state.close()
  }

  /** The same as {@link unbind}. */
  close(): void {
    this.unbind()
  }

  [Symbol.dispose](): void {
    this.unbind()
  }

  toString(): string {
    const state = this.#state.isClosed ? ', closed' : this.#state.pending ? ', pending' : ''
    return `Port <${this.port}${state}>`
  }

  #assertOpen(): void {
    if (this.#state.isClosed) throw new ClosedError(this.#state.what)
  }
}
