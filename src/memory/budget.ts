import { readFileSync } from 'node:fs'
import {
  MAPPINGS_DEFAULT_MAX,
  MAPPINGS_RECOUNT,
  MAPPINGS_RESERVE,
  MAPPINGS_RESERVE_UNMAP,
} from './limits.ts'

/** What the budget asks the system; injected by tests. */
export interface MappingCounts {
  /** vm.max_map_count. */
  max(): number
  /** Kernel mappings of this process now. */
  used(): number
}

/**
 * How many more kernel mappings (VMAs) this process may make before Node would abort.
 *
 * The kernel merges neighbours and splits what is changed in the middle, by rules that are not
 * ours to know: 100,000 pages may be 350 mappings. So this counts upwards only, each call at its
 * worst, and looks at /proc/self/maps whenever that count reaches the limit or has gone far: an
 * upper bound that is corrected in time. Other threads' mappings come in with that look.
 */
export class MappingBudget {
  readonly #counts: MappingCounts
  #max = 0
  #used = 0
  /** Grown since the last look; infinite before the first one. */
  #since: number = Number.POSITIVE_INFINITY

  constructor(counts: MappingCounts = systemCounts) {
    this.#counts = counts
  }

  /** Books `growth` kernel mappings; false when they might be too many: answer -ENOMEM then. */
  take(growth: number): boolean {
    return this.#book(growth, () => this.#max - reserveOf(this.#max))
  }

  /** As {@link take}, for what must be done to unmap: part of the reserve is there for it. */
  takeToUnmap(growth: number): boolean {
    const spare = () => Math.min(MAPPINGS_RESERVE_UNMAP, Math.floor(reserveOf(this.#max) / 2))
    return this.#book(growth, () => this.#max - reserveOf(this.#max) + spare())
  }

  #book(growth: number, limit: () => number): boolean {
    if (this.#since > MAPPINGS_RECOUNT) this.#look()
    if (this.#used + growth > limit() && this.#since > 0) this.#look()
    if (this.#used + growth > limit()) return false
    this.note(growth)
    return true
  }

  /** Counts what has been done without asking. */
  note(growth: number): void {
    this.#used += growth
    this.#since += growth
  }

  #look(): void {
    this.#max = this.#counts.max()
    this.#used = this.#counts.used()
    this.#since = 0
  }
}

function reserveOf(max: number): number {
  return Math.min(MAPPINGS_RESERVE, Math.floor(max / 4))
}

const NEWLINE = 10

const systemCounts: MappingCounts = {
  max() {
    try {
      const max = Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8'))
      return max > 0 ? max : MAPPINGS_DEFAULT_MAX
    } catch {
      return MAPPINGS_DEFAULT_MAX
    }
  },
  used() {
    const maps = readFileSync('/proc/self/maps')
    let lines = 0
    for (let at = maps.indexOf(NEWLINE); at >= 0; at = maps.indexOf(NEWLINE, at + 1)) lines++
    return lines
  },
}

/** The one of this thread, which every {@link Ranges} uses unless told otherwise. */
export const processBudget: MappingBudget = new MappingBudget()
