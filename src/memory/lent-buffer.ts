import type { Address } from '../native/libc.ts'
import { viewMemory } from '../native/view.ts'
import type { Interval } from './intervals.ts'

/** At module level: V8 drops a registry that nobody references, and nothing would be released. */
const collected = new FinalizationRegistry<LentBuffer>(lent => lent.retire())

const lenders = new WeakMap<ArrayBufferLike, LentBuffer>()

/**
 * An ArrayBuffer over memory of ours, in the hands of the program. It must not be unmapped for as
 * long as the buffer can be reached, be it by a DataView that somebody made of `bytes.buffer`; so
 * this watches the buffer and not the views.
 */
export class LentBuffer implements Interval {
  readonly start: Address
  readonly end: Address
  readonly #buffer: WeakRef<ArrayBuffer>
  readonly #onRetire: (lent: LentBuffer) => void
  readonly #owner: object
  #isRetired = false
  #isMoved = false

  /**
   * `onRetire` runs once the buffer is gone; it must not reach the buffer itself. `owner` is the
   * memory that the addresses are of.
   */
  constructor(start: Address, end: Address, onRetire: (lent: LentBuffer) => void, owner: object) {
    const buffer = viewMemory(start, end - start)
    pin(buffer)
    this.start = start
    this.end = end
    this.#buffer = new WeakRef(buffer)
    this.#onRetire = onRetire
    this.#owner = owner
    lenders.set(buffer, this)
    collected.register(buffer, this)
  }

  isOf(owner: object): boolean {
    return this.#owner === owner
  }

  /** Undefined when nobody can reach it any more. */
  get buffer(): ArrayBuffer | undefined {
    const buffer = this.#buffer.deref()
    if (!buffer) return undefined
    if (buffer.byteLength === 0) this.#isMoved = true
    return this.#isMoved ? undefined : buffer
  }

  /** Whether somebody may still read or write through it. */
  get isReachable(): boolean {
    return this.buffer !== undefined || this.#isMoved
  }

  /** Called by the registry; a buffer that was seen to have moved is never given up. */
  retire(): void {
    if (this.#isRetired || this.#isMoved) return
    this.#isRetired = true
    this.#onRetire(this)
  }
}

/** What some bytes belong to, or undefined for bytes that are no memory of ours. */
export function lenderOf(bytes: Uint8Array): LentBuffer | undefined {
  return lenders.get(bytes.buffer)
}

const refused: PropertyDescriptor = {
  value(): never {
    throw new TypeError('the memory of a mapping cannot be transferred')
  },
}
const refusals = { transfer: refused, transferToFixedLength: refused }

/**
 * Forbids to transfer: that moves the pages into another ArrayBuffer behind our back, and the first
 * one's collection would then unmap them under its views. structuredClone and postMessage refuse
 * external memory by themselves (Node 20 copies it in silence, which is harmless).
 *
 * What is left are the byte streams of the web, `reader.read(view)` and `controller.enqueue(view)`,
 * and methods taken from ArrayBuffer.prototype. `isMoved` above sees those for as long as the first
 * buffer lives, and then never gives the addresses back. worker_threads.markAsUntransferable would
 * make them throw, but must not be used here: on Node 26 it sets a detach key, and Node itself
 * detaches every external buffer at exit, without a key, and aborts (seen with 26.10.0).
 */
function pin(buffer: ArrayBuffer): void {
  Object.defineProperties(buffer, refusals)
}
