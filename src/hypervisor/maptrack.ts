import { HANDLES_PER_FRAME } from '../abi/grant-table.ts'
import { type MapRun, widened } from './grant-table.ts'
import type { HypervisorLimits } from './limits.ts'

const FREE = 0
const READ = 1
const WRITE = 2
/** Ends the list of free handles. */
const TAIL = -1
const NO_HANDLE = -1

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
    const words = this.#words
    const handle = this.#firstFree
    const at = 2 * handle
    this.#firstFree = words[at + 1] as number
    words[at] = useOf(domid, writable)
    words[at + 1] = ref
    this.#used++
    return handle
  }

  /** Handles for the pages of a run up to `end`, while there are any: the page after the last. */
  takeRun(run: MapRun, end: number): number {
    const { domid, elements, first, writable, times, pages } = run
    const use = useOf(domid, writable)
    for (let page = first; page < end; ) {
      // As many as need no new frame; the page for which there is half of them by itself.
      const words = this.#words
      let free = this.#firstFree
      let done = page
      for (; done < end; done++) {
        const next = free === TAIL ? TAIL : (words[2 * free + 1] as number)
        if (free === TAIL || (times === 2 && next === TAIL)) break
        const at = done * (times + 1)
        const ref = elements[2 * done + 1] as number
        pages[at] = free
        words[2 * free] = use
        words[2 * free + 1] = ref
        free = next
        if (times === 1) continue
        pages[at + 1] = next
        free = words[2 * next + 1] as number
        words[2 * next] = use
        words[2 * next + 1] = ref
      }
      this.#firstFree = free
      this.#used += times * (done - page)
      page = done
      if (page < end && !this.#takePage(run, page++)) return page - 1
    }
    return end
  }

  /** The handles of one page, all or none. */
  #takePage({ domid, elements, writable, times, pages }: MapRun, page: number): boolean {
    const ref = elements[2 * page + 1] as number
    const at = page * (times + 1)
    for (let i = 0; i < times; i++) {
      const handle = this.take(domid, ref, writable)
      if (handle < 0) {
        while (--i >= 0) {
          this.put(pages[at + i] as number)
          pages[at + i] = NO_HANDLE
        }
        return false
      }
      pages[at + i] = handle
    }
    return true
  }

  /** Gives the handles of a run back: how many pages had any. */
  putRun({ first, end, times, pages }: MapRun): number {
    const words = this.#words
    let free = this.#firstFree
    let had = 0
    for (let page = first; page < end; page++) {
      const at = page * (times + 1)
      if ((pages[at] as number) < 0) continue
      had++
      for (let i = 0; i < times; i++) {
        const handle = pages[at + i] as number
        words[2 * handle] = FREE
        words[2 * handle + 1] = free
        free = handle
      }
    }
    this.#firstFree = free
    this.#used -= times * had
    return had
  }

  put(handle: number): void {
    const words = this.#words
    words[2 * handle] = FREE
    words[2 * handle + 1] = this.#firstFree
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

/** The first word of a handle in use. */
function useOf(domid: number, writable: boolean): number {
  return (writable ? WRITE : READ) | (domid << 16)
}
