import type { EventQueue, PortEnd, PortPeer } from './event-queue.ts'
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

  bound(port: number, _peer: PortPeer): PortEnd {
    this.ring.bind(port, new LocalPortBits())
    return new LocalPortEnd(this, port)
  }

  unbound(port: number): void {
    this.ring.unbind(port)
  }

  raise(port: number): void {
    if (this.ring.get(port)?.send()) this.ring.arrived(port)
  }
}

class LocalPortEnd implements PortEnd {
  readonly queue: LocalEventQueue
  readonly #port: number

  constructor(queue: LocalEventQueue, port: number) {
    this.queue = queue
    this.#port = port
  }

  connected(): void {}

  disconnected(): void {}

  unbound(): void {
    this.queue.unbound(this.#port)
  }

  raise(): void {
    this.queue.raise(this.#port)
  }
}
