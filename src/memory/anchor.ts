/** What an anchor leaves behind for the time when it has been collected. */
interface Legacy {
  /** Undefined once somebody else has seen to it. */
  release: ((state: unknown) => void) | undefined
  state: unknown
}

/** At module level, since V8 drops unreferenced ones; to unregister costs more than to leave it. */
const legacies = new FinalizationRegistry<Legacy>(({ release, state }) => release?.(state))

/** Holder → what it holds: an entry keeps the anchor for exactly as long as the holder lives. */
const held = new WeakMap<object, Set<Anchor<unknown>>>()

/**
 * Runs a release once *all* of several objects have been collected. Whoever owns memory hands out
 * two things, an object with methods and bytes, and a program may drop either first:
 *
 *      Mapping ──(#anchor)──▶ Anchor ◀──(held)── ArrayBuffer ◀── Uint8Array, DataView, …
 *                               │
 *                               └── collected: release(state)
 *
 * So the pages stay mapped for as long as any view of them lives, even when the Mapping was
 * dropped, and are given back when neither is left.
 *
 *      class Mapping {
 *        readonly #anchor = new Anchor(release, { device, index, address, length })
 *        get bytes() {
 *          const bytes = memory.view(address, length)
 *          this.#anchor.hold(bytes.buffer)
 *          return bytes
 *        }
 *        unmap() {
 *          if (this.#anchor.dismiss()) release(state)
 *        }
 *      }
 *
 * `release` and `state` must not reach the owner or the buffer, not even by a closure: they would
 * keep them alive for ever. So `release` is a function of the module and `state` plain facts. It
 * runs in a turn of the event loop of its own, some time after the last holder became unreachable,
 * not at all when the process exits before, and an exception in it is an uncaught one.
 */
export class Anchor<State> {
  readonly #legacy: Legacy

  /** The creator is a holder by keeping the anchor in a field of its own. */
  constructor(release: (state: State) => void, state: State) {
    this.#legacy = { release: release as (state: unknown) => void, state }
    legacies.register(this, this.#legacy)
  }

  /** From now on the anchor also lives for as long as `holder` does. Idempotent. */
  hold(holder: object): this {
    const anchors = held.get(holder)
    if (anchors) anchors.add(this as Anchor<unknown>)
    else held.set(holder, new Set([this as Anchor<unknown>]))
    return this
  }

  /** False once dismissed. */
  get isPending(): boolean {
    return this.#legacy.release !== undefined
  }

  /**
   * The owner releases by itself: the release will not run. True for the first call, which is the
   * one that is to do the work.
   */
  dismiss(): boolean {
    if (!this.isPending) return false
    this.#legacy.release = undefined
    this.#legacy.state = undefined
    return true
  }
}
