import { RESERVED_REFS } from '../abi/grant-table.ts'
import type { Clock } from '../base/clock.ts'
import { widened } from '../hypervisor/grant-table.ts'
import type { Hypervisor } from '../hypervisor/hypervisor.ts'
import type { XenDomain } from '../hypervisor/xen-domain.ts'
import type { KernelRules } from './profiles.ts'

/** How often the kernel looks after grants that are still mapped, and how many it looks at. */
export const DEFERRED_INTERVAL_MS = 1000
export const DEFERRED_PER_TICK = 10

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

  /** A free ref, or 0 when there is none and the table cannot grow. */
  take(): number {
    if (this.#firstFree === 0 && !this.#grow()) return 0
    const ref = this.#firstFree
    this.#firstFree = this.#next[ref] ?? 0
    return ref
  }

  put(ref: number): void {
    this.#next[ref] = this.#firstFree
    this.#firstFree = ref
  }

  /** Ends the grant: whether page and ref come back now, else once the peer has unmapped it. */
  end(ref: number): boolean {
    if (this.#tryEnd(ref)) return true
    this.#deferred.push(ref)
    if (this.#rules.freesByTimer) this.#setTimer()
    return false
  }

  /** Tries all that wait once more, and answers how many are free now. */
  retry(): number {
    const before = this.#deferred.length
    this.#deferred = this.#deferred.filter(ref => !this.#tryEnd(ref))
    return before - this.#deferred.length
  }

  /** Refs that wait for their peer to unmap, oldest first. */
  get deferred(): readonly number[] {
    return this.#deferred
  }

  #tryEnd(ref: number): boolean {
    const { grants } = this.#domain
    const frame = grants.frame(ref)
    if (!grants.end(ref)) return false
    if (this.#rules.returnsRefs) this.put(ref)
    this.#xen.pages.free(frame)
    return true
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
    const looked = this.#deferred.splice(0, DEFERRED_PER_TICK)
    for (const ref of looked) if (!this.#tryEnd(ref)) this.#deferred.push(ref)
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
