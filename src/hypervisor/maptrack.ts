import { HANDLES_PER_FRAME } from '../abi/grant-table.ts'
import { type MapRun, widened } from './grant-table.ts'
import type { HypervisorLimits } from './limits.ts'

const FREE = 0
const READ = 1
const WRITE = 2
/** Ends the list of free handles. */
const TAIL = -1

/**
 * The grants that a domain has mapped, by handle: two words each.
 *
 *      0       16        32                          64
 *     +-------+---------+---------------------------+
 *     |  use  |  domid  |  ref, or next free handle |
 *     +-------+---------+---------------------------+
 *
 * Free handles are a list threaded through the table, last in first out. Source: Xen
 * common/grant_table.c, struct grant_mapping.
 */
export class Maptrack {
  readonly #limits: HypervisorLimits
  #frames = 0
  #words = new Int32Array(2 * HANDLES_PER_FRAME)
  #firstFree = TAIL
  #used = 0

  constructor(limits: HypervisorLimits) {
    this.#limits = limits
  }

  /** Handles in use. */
  get used(): number {
    return this.#used
  }

  /** A handle, or -1 when the table may not grow. */
  take(domid: number, ref: number, writable: boolean): number {
    if (this.#firstFree === TAIL && !this.#grow()) return -1
    const handle = this.#firstFree
    this.#firstFree = this.#words[2 * handle + 1] ?? TAIL
    this.#words[2 * handle] = (writable ? WRITE : READ) | (domid << 16)
    this.#words[2 * handle + 1] = ref
    this.#used++
    return handle
  }

  /** Handles for the pages of a run up to `end`, while there are any: the page after the last. */
  takeRun({ domid, elements, first, writable, times, pages }: MapRun, end: number): number {
    for (let page = first; page < end; page++) {
      const ref = elements[2 * page + 1] as number
      const at = page * (times + 1)
      for (let i = 0; i < times; i++) {
        const handle = this.take(domid, ref, writable)
        if (handle < 0) {
          while (--i >= 0) this.put(pages[at + i] as number)
          return page
        }
        pages[at + i] = handle
      }
    }
    return end
  }

  put(handle: number): void {
    this.#words[2 * handle] = FREE
    this.#words[2 * handle + 1] = this.#firstFree
    this.#firstFree = handle
    this.#used--
  }

  has(handle: number): boolean {
    return this.#word(handle) !== FREE
  }

  domid(handle: number): number {
    return this.#word(handle) >>> 16
  }

  ref(handle: number): number {
    return this.#words[2 * handle + 1] ?? 0
  }

  isWritable(handle: number): boolean {
    return (this.#word(handle) & 0xffff) === WRITE
  }

  /** Handles in use, lowest first. */
  *handles(): Generator<number> {
    const size = this.#frames * HANDLES_PER_FRAME
    for (let handle = 0; handle < size; handle++) if (this.has(handle)) yield handle
  }

  #grow(): boolean {
    if (this.#frames >= this.#limits.maxMaptrackFrames) return false
    const first = this.#frames * HANDLES_PER_FRAME
    this.#frames++
    const end = this.#frames * HANDLES_PER_FRAME
    if (2 * end > this.#words.length) {
      this.#words = widened(this.#words, new Int32Array(2 * this.#words.length))
    }
    for (let handle = first; handle < end - 1; handle++) this.#words[2 * handle + 1] = handle + 1
    this.#words[2 * end - 1] = this.#firstFree
    this.#firstFree = first
    return true
  }

  #word(handle: number): number {
    return this.#words[2 * handle] ?? FREE
  }
}
