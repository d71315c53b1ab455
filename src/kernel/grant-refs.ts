import { RESERVED_REFS } from '../abi/grant-table.ts'
import type { Clock } from '../base/clock.ts'
import { frameRuns } from '../hypervisor/frame-runs.ts'
import { type Refs, widened } from '../hypervisor/grant-table.ts'
import type { Hypervisor } from '../hypervisor/hypervisor.ts'
import type { XenDomain } from '../hypervisor/xen-domain.ts'
import type { KernelRules } from './profiles.ts'

/** How often the kernel looks after grants that are still mapped, and how many it looks at. */
export const DEFERRED_INTERVAL_MS = 1000
export const DEFERRED_PER_TICK = 10

const TAKEN_MIN = 64

/**
 * The refs of one kernel: the free ones as a list threaded through an array, last in first out
 * (cases 226 to 228), and the ones that were ended while the peer had them mapped, which a timer or
 * the next call of gntalloc looks after. Source: drivers/xen/grant-table.c.
 */
export class GrantRefs {
  readonly #xen: Hypervisor
  readonly #domain: XenDomain
  readonly #clock: Clock
  readonly #rules: KernelRules
  /** The next free ref behind a free one; 0 ends the list. */
  #next: Uint32Array
  #firstFree = 0
  #taken = new Uint32Array(TAKEN_MIN)
  #deferred: number[] = []
  #isTimerSet = false

  constructor(xen: Hypervisor, domain: XenDomain, clock: Clock, rules: KernelRules) {
    this.#xen = xen
    this.#domain = domain
    this.#clock = clock
    this.#rules = rules
    this.#next = new Uint32Array(domain.grants.size)
    this.#thread(RESERVED_REFS, domain.grants.size)
  }

  /**
   * So many free refs, or as many as there are and the table can grow by. They are good until the
   * next call: to make an array of them each time costs as much as the rest of this.
   */
  take(count: number): Refs {
    if (count > this.#taken.length) this.#taken = new Uint32Array(count)
    const refs = this.#taken.subarray(0, count)
    for (let i = 0; i < count; ) {
      if (this.#firstFree === 0 && !this.#grow()) return refs.subarray(0, i)
      const next = this.#next
      let free = this.#firstFree
      for (; i < count && free !== 0; i++) {
        refs[i] = free
        free = next[free] as number
      }
      this.#firstFree = free
    }
    return refs
  }

  #put(refs: Refs): void {
    const next = this.#next
    let free = this.#firstFree
    for (let i = 0; i < refs.length; i++) {
      const ref = refs[i] as number
      next[ref] = free
      free = ref
    }
    this.#firstFree = free
  }

  /** Ends grants: for how many page and ref come back now, else once the peer has unmapped it. */
  end(refs: Refs): number {
    const before = this.#deferred.length
    this.#tryEnd(refs, this.#deferred)
    const waiting = this.#deferred.length - before
    if (waiting > 0 && this.#rules.freesByTimer) this.#setTimer()
    return refs.length - waiting
  }

  /** Tries all that wait once more, and answers how many are free now. */
  retry(): number {
    const waiting: number[] = []
    const tried = this.#deferred
    if (tried.length > 0) this.#tryEnd(Uint32Array.from(tried), waiting)
    this.#deferred = waiting
    return tried.length - waiting.length
  }

  /** Refs that wait for their peer to unmap, oldest first. */
  get deferred(): readonly number[] {
    return this.#deferred
  }

  /** Ends grants, and adds those to `waiting` that are in use. */
  #tryEnd(refs: Refs, waiting: number[]): void {
    const { grants } = this.#domain
    for (let left = refs; left.length > 0; ) {
      const count = grants.endRun(left)
      const ended = count === left.length ? left : left.subarray(0, count)
      if (this.#rules.returnsRefs) this.#put(ended)
      for (const run of frameRuns(grants.readFrames(ended), count)) {
        this.#xen.pages.free(run.first, run.count)
      }
      if (ended === left) return
      waiting.push(left[count] as number)
      left = left.subarray(count + 1)
    }
  }

  #setTimer(): void {
    if (this.#isTimerSet || this.#deferred.length === 0) return
    this.#isTimerSet = true
    this.#clock.after(DEFERRED_INTERVAL_MS, () => {
      this.#isTimerSet = false
      this.#tick()
    })
  }

  /** gnttab_handle_deferred: at most ten entries, and none twice; what is busy goes to the end. */
  #tick(): void {
    // A dead kernel has no timers; the hypervisor has taken its pages.
    if (this.#domain.isDying) return
    const tried = Uint32Array.from(this.#deferred.splice(0, DEFERRED_PER_TICK))
    this.#tryEnd(tried, this.#deferred)
    this.#setTimer()
  }

  #grow(): boolean {
    const { grants } = this.#domain
    const first = grants.size
    if (!grants.grow()) return false
    if (grants.size > this.#next.length) {
      this.#next = widened(this.#next, new Uint32Array(this.#next.length * 2))
    }
    this.#thread(first, grants.size)
    return true
  }

  #thread(first: number, end: number): void {
    for (let ref = first; ref < end - 1; ref++) this.#next[ref] = ref + 1
    this.#next[end - 1] = this.#firstFree
    this.#firstFree = first
  }
}
