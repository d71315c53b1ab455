import { EVTCHNSTAT, NR_VIRQS } from '../abi/event-channel.ts'
import { widened } from './grant-table.ts'
import type { HypervisorLimits } from './limits.ts'
import { NumberPool } from './number-pool.ts'

const PORTS_FIRST = 64

/**
 * The event channels of one domain: the state of each port and its other end. Port 0 is reserved;
 * the lowest free number is used (case 229). Source: Xen common/event_channel.c.
 */
export class EventChannels {
  readonly #limits: HypervisorLimits
  readonly #numbers = new NumberPool(1)
  /** Port that each virq is bound to on vCPU 0; 0 when it is not. */
  readonly #virqs = new Uint32Array(NR_VIRQS)
  #used = 0
  #states = new Uint8Array(PORTS_FIRST)
  #domids = new Uint16Array(PORTS_FIRST)
  /** The peer's port, or the virq. */
  #others = new Uint32Array(PORTS_FIRST)

  constructor(limits: HypervisorLimits) {
    this.#limits = limits
  }

  state(port: number): number {
    return this.#states[port] ?? EVTCHNSTAT.closed
  }

  /** The peer's domain, or the one that an unbound port waits for. */
  peerDomid(port: number): number {
    return this.#domids[port] ?? 0
  }

  peerPort(port: number): number {
    return this.#others[port] ?? 0
  }

  virq(port: number): number {
    return this.#others[port] ?? 0
  }

  /** The port that serves `virq`, or 0. */
  portOfVirq(virq: number): number {
    return this.#virqs[virq] ?? 0
  }

  /** Whether {@link open} would find a number. */
  get hasFree(): boolean {
    return this.#numbers.peek() <= this.#limits.maxEventChannels
  }

  /** Ports that are not closed. */
  get used(): number {
    return this.#used
  }

  /** Takes the lowest free port; the caller asked {@link hasFree}. */
  open(): number {
    const port = this.#numbers.take()
    this.#used++
    if (port >= this.#states.length) this.#reserve(this.#states.length * 2)
    return port
  }

  setUnbound(port: number, remoteDomid: number): void {
    this.#states[port] = EVTCHNSTAT.unbound
    this.#domids[port] = remoteDomid
    this.#others[port] = 0
  }

  setInterdomain(port: number, remoteDomid: number, remotePort: number): void {
    this.#states[port] = EVTCHNSTAT.interdomain
    this.#domids[port] = remoteDomid
    this.#others[port] = remotePort
  }

  setVirq(port: number, virq: number): void {
    this.#states[port] = EVTCHNSTAT.virq
    this.#domids[port] = 0
    this.#others[port] = virq
    this.#virqs[virq] = port
  }

  /** This end is free again; the caller has seen to the other one. */
  free(port: number): void {
    if (this.#states[port] === EVTCHNSTAT.virq) this.#virqs[this.virq(port)] = 0
    this.#states[port] = EVTCHNSTAT.closed
    this.#used--
    this.#numbers.put(port)
  }

  /** Ports that are not closed, lowest first. */
  *ports(): Generator<number> {
    const bound = this.#numbers.bound
    for (let port = 1; port < bound; port++) {
      if (this.#states[port] !== EVTCHNSTAT.closed) yield port
    }
  }

  #reserve(size: number): void {
    this.#states = widened(this.#states, new Uint8Array(size))
    this.#domids = widened(this.#domids, new Uint16Array(size))
    this.#others = widened(this.#others, new Uint32Array(size))
  }
}
