import type { Closable } from '../base/owner.ts'

/** Somebody who awaits the next event of a port. */
export interface Waiter {
  resolve(): void
  reject(reason: unknown): void
}

/**
 * What the dispatcher knows of one port. It holds no reference to the {@link Port} that the
 * program holds, so a Port that is dropped can be collected, and is then released through this.
 */
export interface PortState extends Closable {
  readonly port: number
  /** The port as write(2) takes it. */
  readonly wire: Uint8Array
  /** An event was read from the device that nobody has awaited yet; further ones merge into it. */
  pending: boolean
  isClosed: boolean
  /** Whether a wait on it keeps the process alive. */
  isRef: boolean
  readonly waiters: Set<Waiter>
}
