import { encodeU32 } from '../abi/evtchn.ts'
import type { Closable } from '../base/owner.ts'
import type { Waiters } from '../base/waiters.ts'

/**
 * What the dispatcher knows of one port. It holds no reference to the {@link Port} that the
 * program holds, so a Port that is dropped can be collected, and is then released through this.
 */
export interface PortState extends Closable {
  readonly port: number
  /** The port as write(2) and NOTIFY take it, once it was needed: see {@link wireOf}. */
  wire: Uint8Array | undefined
  /** An event was read from the device that nobody has awaited yet; further ones merge into it. */
  pending: boolean
  isClosed: boolean
  /** Whether a wait on it keeps the process alive. */
  isRef: boolean
  /** Who awaits its next event; they tell the dispatcher when there are any. */
  readonly waiters: Waiters
}

/** The port as write(2) and NOTIFY take it. */
export function wireOf(state: PortState): Uint8Array {
  state.wire ??= encodeU32(state.port)
  return state.wire
}
