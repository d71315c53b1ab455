import { setImmediate as turnOfTheLoop } from 'node:timers/promises'
import { errnoName } from '../abi/errno.ts'
import { EVTCHN_IO_MAX, EVTCHN_RESET, encodePorts, PORT_SIZE } from '../abi/evtchn.ts'
import { DenseMap } from '../base/dense-map.ts'
import { ClosedError, XenError } from '../base/errors.ts'
import { callDevice } from '../device-call.ts'
import type { Device } from '../platform.ts'
import { ROUNDS_A_TURN } from './limits.ts'
import type { PortState } from './port-state.ts'

/** Ports that one read or write of the device carries. */
const PORTS_A_CALL: number = EVTCHN_IO_MAX / PORT_SIZE

/**
 * Routes the events of one evtchn descriptor to its ports.
 *
 * The device is waited on from when somebody awaits a port until an event comes that nobody awaits,
 * by one wait at a time, however many ports are awaited. It keeps the process alive only while
 * somebody awaits, so a program that awaits nothing may end.
 *
 * The driver masks a port when it queues it, and queues it no more until the port is written back
 * (`rearm`). We write back only after the entry was read, so the ring cannot overflow by us; when
 * it does all the same, say by a stranger with a duplicate of the descriptor, events were lost,
 * and every port is told that there may have been one.
 */
export class Dispatcher {
  readonly #device: Device
  readonly #ports = new DenseMap<PortState>()
  readonly #read = new Uint32Array(PORTS_A_CALL)
  readonly #readBytes = new Uint8Array(this.#read.buffer)
  /** Ports that somebody awaits, and those of them that keep the process alive. */
  #awaited = 0
  #refAwaited = 0
  #isHolding = true
  #isListening = false
  #rounds = 0

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
    if (state.isAwaited) state.waiters.fail(new ClosedError(state.what))
    this.#drain()
  }

  /** Resolves at the next event of the port, or at once when one is pending, and takes it. */
  next(state: PortState, signal?: AbortSignal): Promise<void> {
    if (!state.pending || signal?.aborted) return state.waiters.wait(signal)
    state.pending = false
    return Promise.resolve()
  }

  /** Somebody begins to await a port that nobody awaited, or the last who did has gone. */
  awaited(state: PortState, isAwaited: boolean): void {
    const step = isAwaited ? 1 : -1
    this.#awaited += step
    if (state.isRef) this.#refAwaited += step
    this.#holdProcess()
    if (isAwaited && !this.#isListening) void this.#listen()
  }

  /** Writes the port back: the driver will queue its next event, or at once the one it holds. */
  rearm(state: PortState): void {
    this.#write(state.wire)
  }

  setRef(state: PortState, isRef: boolean): void {
    if (state.isRef === isRef) return
    state.isRef = isRef
    if (state.isAwaited) this.#refAwaited += isRef ? 1 : -1
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

  async #listen(): Promise<void> {
    this.#isListening = true
    try {
      for (let isAwaited = true; isAwaited; ) {
        if (++this.#rounds % ROUNDS_A_TURN === 0) await turnOfTheLoop()
        await this.#device.ready()
        isAwaited = this.#awaited > 0
        this.#drain()
      }
    } catch (error) {
      for (const state of this.#ports.values()) if (state.isAwaited) state.waiters.fail(error)
    } finally {
      this.#isListening = false
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
    if (state.isAwaited) state.waiters.wake()
    else state.pending = true
  }

  /** The ring overflowed: whose events were lost nobody can say, so each port gets a hint. */
  #recover(): void {
    this.reset()
    for (const state of this.#ports.values()) this.#deliver(state)
  }

  #write(ports: Uint8Array): void {
    const result = this.#device.write(ports)
    if (result < 0) throw new XenError(result, 'write evtchn')
  }

  #holdProcess(): void {
    const isHolding = this.#refAwaited > 0
    if (isHolding === this.#isHolding) return
    this.#isHolding = isHolding
    if (isHolding) this.#device.ref()
    else this.#device.unref()
  }
}
