import { errnoName } from '../abi/errno.ts'
import { EVTCHN_IO_MAX, EVTCHN_RESET, encodePorts, PORT_SIZE } from '../abi/evtchn.ts'
import { ClosedError, XenError } from '../base/errors.ts'
import { callDevice } from '../device-call.ts'
import type { Device } from '../platform.ts'
import type { PortState, Waiter } from './port-state.ts'

/** Ports that one read or write of the device carries. */
const PORTS_A_CALL: number = EVTCHN_IO_MAX / PORT_SIZE

/**
 * Routes the events of one evtchn descriptor to its ports.
 *
 * The device is waited on only while somebody awaits a port, so a program that awaits nothing may
 * end; and there is one such wait at a time, however many ports are awaited.
 *
 * The driver masks a port when it queues it, and queues it no more until the port is written back
 * (`rearm`). We write back only after the entry was read, so the ring cannot overflow by us; when
 * it does all the same, say by a stranger with a duplicate of the descriptor, events were lost,
 * and every port is told that there may have been one.
 */
export class Dispatcher {
  readonly #device: Device
  readonly #ports = new Map<number, PortState>()
  readonly #read = new Uint32Array(PORTS_A_CALL)
  readonly #readBytes = new Uint8Array(this.#read.buffer)
  #waiters = 0
  #refWaiters = 0
  #isListening = false
  /** Whether {@link #listen} is waiting for the device just now; `#stop` ends that wait. */
  #isInReady = false
  #stop = new AbortController()

  constructor(device: Device) {
    this.#device = device
  }

  get device(): Device {
    return this.#device
  }

  add(state: PortState): void {
    this.#ports.set(state.port, state)
  }

  /**
   * Called before the port is unbound. What is queued for it is read now and dropped: the driver
   * leaves it in the ring, where a port that gets the same number would find it.
   */
  remove(state: PortState): void {
    this.#ports.delete(state.port)
    this.#rejectAll(state, new ClosedError(`port ${state.port}`))
    this.#drain()
  }

  /** Resolves at the next event of the port, or at once when one is pending, and takes it. */
  next(state: PortState, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (state.pending) {
      state.pending = false
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#drop(state, waiter)
        reject(signal?.reason)
      }
      const waiter: Waiter = {
        resolve: () => {
          signal?.removeEventListener('abort', onAbort)
          resolve()
        },
        reject: reason => {
          signal?.removeEventListener('abort', onAbort)
          reject(reason)
        },
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#join(state, waiter)
    })
  }

  /** Writes the port back: the driver will queue its next event, or at once the one it holds. */
  rearm(state: PortState): void {
    this.#write(state.wire)
  }

  setRef(state: PortState, isRef: boolean): void {
    if (state.isRef === isRef) return
    state.isRef = isRef
    this.#refWaiters += isRef ? state.waiters.size : -state.waiters.size
    this.#holdProcess()
  }

  /** RESET, which leaves the queued ports masked, so each is written back. */
  reset(): void {
    callDevice(this.#device, EVTCHN_RESET)
    for (const state of this.#ports.values()) state.pending = false
    const ports = [...this.#ports.keys()]
    for (let i = 0; i < ports.length; i += PORTS_A_CALL) {
      this.#write(encodePorts(ports.slice(i, i + PORTS_A_CALL)))
    }
  }

  #join(state: PortState, waiter: Waiter): void {
    state.waiters.add(waiter)
    this.#waiters++
    if (state.isRef) this.#refWaiters++
    this.#holdProcess()
    if (!this.#isListening) void this.#listen()
  }

  #drop(state: PortState, waiter: Waiter): void {
    if (!state.waiters.delete(waiter)) return
    this.#waiters--
    if (state.isRef) this.#refWaiters--
    this.#holdProcess()
    if (this.#waiters === 0 && this.#isInReady) this.#giveUp()
  }

  /** Nobody awaits anything any more: the wait for the device must not keep the process alive. */
  #giveUp(): void {
    const stopped = this.#stop
    this.#stop = new AbortController()
    this.#isInReady = false
    this.#isListening = false
    stopped.abort()
  }

  /** One at a time, but one that was given up may still be settling beside a new one. */
  async #listen(): Promise<void> {
    const stop = this.#stop
    this.#isListening = true
    try {
      while (this.#waiters > 0) {
        this.#isInReady = true
        await this.#device.ready(stop.signal)
        if (stop !== this.#stop) return
        this.#isInReady = false
        this.#drain()
      }
      this.#isListening = false
    } catch (error) {
      if (stop !== this.#stop) return
      this.#isInReady = false
      this.#isListening = false
      for (const state of this.#ports.values()) this.#rejectAll(state, error)
    }
  }

  /** Reads what is queued, without waiting. */
  #drain(): void {
    for (;;) {
      const result = this.#device.read(this.#readBytes)
      if (result < 0) {
        const code = errnoName(result)
        if (code === 'EFBIG') this.#recover()
        else if (code !== 'EAGAIN') throw new XenError(result, 'read evtchn')
        return
      }
      const count = result / PORT_SIZE
      for (let i = 0; i < count; i++) this.#deliver(this.#ports.get(this.#read[i] ?? 0))
      if (count < PORTS_A_CALL) return
    }
  }

  #deliver(state: PortState | undefined): void {
    if (!state) return
    if (state.waiters.size === 0) {
      state.pending = true
      return
    }
    for (const waiter of state.waiters) {
      this.#drop(state, waiter)
      waiter.resolve()
    }
  }

  /** The ring overflowed: whose events were lost nobody can say, so each port gets a hint. */
  #recover(): void {
    this.reset()
    for (const state of this.#ports.values()) this.#deliver(state)
  }

  #rejectAll(state: PortState, reason: unknown): void {
    for (const waiter of state.waiters) {
      this.#drop(state, waiter)
      waiter.reject(reason)
    }
  }

  #write(ports: Uint8Array): void {
    const result = this.#device.write(ports)
    if (result < 0) throw new XenError(result, 'write evtchn')
  }

  #holdProcess(): void {
    if (this.#waiters === 0) return
    if (this.#refWaiters > 0) this.#device.ref?.()
    else this.#device.unref?.()
  }
}
