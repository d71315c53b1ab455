import type { ErrorFacts } from '../base/errors.ts'

/** What a port is bound to, as its driver was told. */
export type PortPeer =
  /** Waits for domain `domid` to bind it. */
  | { readonly kind: 'unbound'; readonly domid: number }
  /** Connected to port `port` of domain `domid`. */
  | { readonly kind: 'interdomain'; readonly domid: number; readonly port: number }
  | { readonly kind: 'virq'; readonly virq: number }
  /** Bound by BIND_STATIC: somebody else made it, nobody closes it. */
  | { readonly kind: 'static' }

/**
 * The receiving half of a descriptor of /dev/xen/evtchn, as the hypervisor and the driver reach it.
 * In a world it is an {@link EventRing} in this process; in a host the ring lives in the client
 * and this tells it through shared memory and a pipe.
 */
export interface EventQueue {
  /** The descriptor bound `port`: its end, enabled and idle. Facts when there is no room for it. */
  bound(port: number, peer: PortPeer): PortEnd | ErrorFacts
}

/** A port that a descriptor has bound, as whatever concerns it reaches its reader. */
export interface PortEnd {
  readonly queue: EventQueue
  /** The peer of an unbound port bound to it. */
  connected(peerDomid: number, peerPort: number): void
  /** The peer closed its end: the port is unbound again, reserved for the same domain. */
  disconnected(): void
  /** The descriptor let it go. */
  unbound(): void
  /** Xen set the port pending: tell the owner unless it is masked. */
  raise(): void
}
