import assert from 'node:assert/strict'
import {
  decodePorts,
  EVTCHN_BIND_INTERDOMAIN,
  EVTCHN_BIND_STATIC,
  EVTCHN_BIND_UNBOUND_PORT,
  EVTCHN_BIND_VIRQ,
  EVTCHN_IO_MAX,
  EVTCHN_NOTIFY,
  EVTCHN_RESET,
  EVTCHN_RESTRICT_DOMID,
  EVTCHN_UNBIND,
  encodeBindInterdomain,
  encodePorts,
  encodeRestrictDomid,
  encodeU32,
} from '../abi/evtchn.ts'
import type { Result } from '../platform.ts'
import { Opened } from './opened.ts'
import { ok } from './verdict.ts'

/** Long enough that an event which was sent would have come. */
export const QUIET_MS = 20

/** The verbs of an open /dev/xen/evtchn. BIND_* answer the port. */
export class Evtchn extends Opened {
  bindUnbound(domid: number = this.facts.domid): Promise<Result> {
    return this.#call(EVTCHN_BIND_UNBOUND_PORT, encodeU32(domid))
  }

  bindInterdomain(port: number, domid: number = this.facts.domid): Promise<Result> {
    return this.#call(EVTCHN_BIND_INTERDOMAIN, encodeBindInterdomain(domid, port))
  }

  bindVirq(virq: number): Promise<Result> {
    return this.#call(EVTCHN_BIND_VIRQ, encodeU32(virq))
  }

  bindStatic(port: number): Promise<Result> {
    return this.#call(EVTCHN_BIND_STATIC, encodeU32(port))
  }

  unbind(port: number): Promise<Result> {
    return this.#call(EVTCHN_UNBIND, encodeU32(port))
  }

  notify(port: number): Promise<Result> {
    return this.#call(EVTCHN_NOTIFY, encodeU32(port))
  }

  reset(): Promise<Result> {
    return this.#call(EVTCHN_RESET)
  }

  restrict(domid: number): Promise<Result> {
    return this.#call(EVTCHN_RESTRICT_DOMID, encodeRestrictDomid(domid))
  }

  async readPorts(bytes: number = EVTCHN_IO_MAX): Promise<{ result: Result; ports: number[] }> {
    const answer = await this.read(bytes)
    return { result: answer.result, ports: decodePorts(answer.bytes) }
  }

  /** Writes ports back: each may fire again. */
  writePorts(...ports: number[]): Promise<Result> {
    return this.write(encodePorts(ports))
  }

  /** Waits under the watchdog until something can be read, and reads nothing. */
  async arrival(): Promise<void> {
    await ok(this.puppet.ready(this.fd, this.facts.watchdogMs))
  }

  /**
   * Waits under the watchdog until `count` events have come and answers their ports, oldest first.
   * They are not written back.
   */
  async events(count = 1): Promise<number[]> {
    const ports: number[] = []
    while (ports.length < count) {
      const ready = await this.puppet.ready(this.fd, this.facts.watchdogMs)
      if (ready < 0) assert.fail(`${count} events expected, ${ports.length} came: ${ports}`)
      ports.push(...(await ok(this.readPorts())).ports)
    }
    return ports
  }

  /** Asserts that exactly these events come, in this order, and writes their ports back. */
  async expectEvents(...ports: number[]): Promise<void> {
    assert.deepEqual(await this.events(ports.length), ports)
    await ok(this.writePorts(...ports))
  }

  /** Asserts that nothing comes. */
  async expectSilence(): Promise<void> {
    await this.facts.settle(QUIET_MS)
    const { in: readable, err } = await this.poll()
    if (!readable && !err) return
    assert.fail(`no event expected, got ${err ? 'an overflow' : (await this.readPorts()).ports}`)
  }

  async dup(): Promise<Evtchn> {
    return new Evtchn({ ...this.facts, fd: await this.dupFd() })
  }

  async #call(number: number, argument?: Uint8Array): Promise<Result> {
    return (await this.ioctl(number, argument)).result
  }
}

/**
 * A connected loopback channel: `port` on `near`, `farPort` on `far`, both idle. Sending on `port`
 * makes `far` readable. The first event, which every bind causes, is drained.
 */
export class Channel {
  readonly near: Evtchn
  readonly port: number
  readonly far: Evtchn
  readonly farPort: number

  private constructor(near: Evtchn, port: number, far: Evtchn, farPort: number) {
    this.near = near
    this.port = port
    this.far = far
    this.farPort = farPort
  }

  static async connect(near: Evtchn, far: Evtchn): Promise<Channel> {
    const port = await ok(near.bindUnbound())
    const farPort = await ok(far.bindInterdomain(port))
    await far.expectEvents(farPort)
    return new Channel(near, port, far, farPort)
  }

  /** Asserts that `port` was sent on exactly once. */
  async expectOnce(): Promise<void> {
    await this.far.expectEvents(this.farPort)
    await this.far.expectSilence()
  }

  async expectSilence(): Promise<void> {
    await this.far.expectSilence()
  }
}
