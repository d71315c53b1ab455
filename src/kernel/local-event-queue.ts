import type { EventQueue, PortPeer } from './event-queue.ts'
import { EventRing, LocalPortBits } from './event-ring.ts'
import type { KernelRules } from './profiles.ts'

/** The receiving half of an evtchn descriptor in this very process: ring and bits are objects. */
export class LocalEventQueue implements EventQueue {
  readonly ring: EventRing
  readonly #listeners = new Set<() => void>()

  constructor(rules: Pick<KernelRules, 'ringGrows'>) {
    this.ring = new EventRing(rules, () => {
      for (const listener of [...this.#listeners]) listener()
    })
  }

  /** Calls `listener` when the ring turns readable or overflows, until the answer is called. */
  onWake(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  bound(port: number, _peer: PortPeer): undefined {
    this.ring.bind(port, new LocalPortBits())
  }

  connected(_port: number, _peerDomid: number, _peerPort: number): void {}

  disconnected(_port: number): void {}

  unbound(port: number): void {
    this.ring.unbind(port)
  }

  raise(port: number): void {
    if (this.ring.get(port)?.send()) this.ring.arrived(port)
  }
}
