import { HANDLES_PER_FRAME } from '../abi/grant-table.ts'
import { widened } from './grant-table.ts'
import type { HypervisorLimits } from './limits.ts'

const FREE = 0
const READ = 1
const WRITE = 2

/**
 * The grants that a domain has mapped, by handle. Free handles are a list threaded through the
 * table, last in first out. Source: Xen common/grant_table.c, struct grant_mapping.
 */
export class Maptrack {
  readonly #limits: HypervisorLimits
  #frames = 0
  #domids = new Uint16Array(HANDLES_PER_FRAME)
  #refs = new Uint32Array(HANDLES_PER_FRAME)
  #uses = new Uint8Array(HANDLES_PER_FRAME)
  #next = new Int32Array(HANDLES_PER_FRAME)
  #firstFree = -1
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
    if (this.#firstFree < 0 && !this.#grow()) return -1
    const handle = this.#firstFree
    this.#firstFree = this.#next[handle] ?? -1
    this.#domids[handle] = domid
    this.#refs[handle] = ref
    this.#uses[handle] = writable ? WRITE : READ
    this.#used++
    return handle
  }

  put(handle: number): void {
    this.#uses[handle] = FREE
    this.#next[handle] = this.#firstFree
    this.#firstFree = handle
    this.#used--
  }

  has(handle: number): boolean {
    return (this.#uses[handle] ?? FREE) !== FREE
  }

  domid(handle: number): number {
    return this.#domids[handle] ?? 0
  }

  ref(handle: number): number {
    return this.#refs[handle] ?? 0
  }

  isWritable(handle: number): boolean {
    return this.#uses[handle] === WRITE
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
    if (end > this.#uses.length) this.#reserve(this.#uses.length * 2)
    for (let handle = first; handle < end - 1; handle++) this.#next[handle] = handle + 1
    this.#next[end - 1] = this.#firstFree
    this.#firstFree = first
    return true
  }

  #reserve(size: number): void {
    this.#domids = widened(this.#domids, new Uint16Array(size))
    this.#refs = widened(this.#refs, new Uint32Array(size))
    this.#uses = widened(this.#uses, new Uint8Array(size))
    this.#next = widened(this.#next, new Int32Array(size))
  }
}
