import type { ErrorFacts } from '../base/errors.ts'
import type { DomainLimits } from '../kernel/limits.ts'
import { limitFacts } from '../kernel/limits.ts'

/** Whose limits count; a domain that is gone has none. */
type FindDomain = (
  domid: number,
) => { readonly domid: number; readonly limits: DomainLimits } | undefined

/** Pages that a domain can reach, by the domain that granted them. */
interface Account {
  total: number
  readonly from: Map<number, number>
}

/**
 * What all domains take of the one process that is their host, and who may have more of it.
 *
 * **Descriptors** belong to nobody in particular, so there is no fair number: a domain may hold as
 * many as are left for all others. One that takes all it can gets half, the next one half of the
 * rest; there is always something left for whoever comes.
 *
 * **Memory** counts against the domain that granted it and against each that mapped it, since
 * either can touch all of a chunk. What one peer granted never takes more of a domain's limit than
 * it leaves.
 */
export class Budget {
  readonly #domain: FindDomain
  readonly #descriptors: number
  #descriptorsUsed = 0
  readonly #descriptorsOf = new Map<number, number>()
  readonly #memory = new Map<number, Account>()

  constructor(descriptors: number, domain: FindDomain) {
    this.#descriptors = descriptors
    this.#domain = domain
  }

  /** Books descriptors for a domain; the facts of the refusal when it may have no more. */
  takeDescriptors(domid: number, count: number): ErrorFacts | undefined {
    const used = this.#descriptorsOf.get(domid) ?? 0
    const left = this.#descriptors - this.#descriptorsUsed
    if (used + count > left - count) {
      return {
        limit: "its share of the host's descriptors,",
        limitValue: Math.max(0, Math.floor((used + left) / 2)),
        limitUnit: `of ${this.#descriptors} for all domains, in domain ${domid}`,
        used,
        wanted: count,
        fix: 'raise RLIMIT_NOFILE (ulimit -n) where the host is started',
      }
    }
    this.#descriptorsUsed += count
    this.#descriptorsOf.set(domid, used + count)
    return undefined
  }

  giveDescriptors(domid: number, count: number): void {
    const left = (this.#descriptorsOf.get(domid) ?? 0) - count
    this.#descriptorsUsed -= count
    if (left === 0) this.#descriptorsOf.delete(domid)
    else this.#descriptorsOf.set(domid, left)
  }

  /** Books pages that domain `granter` has granted and domain `domid` can reach. */
  takeMemory(domid: number, granter: number, pages: number): ErrorFacts | undefined {
    const domain = this.#domain(domid)
    const account = this.#memory.get(domid) ?? { total: 0, from: new Map<number, number>() }
    const from = account.from.get(granter) ?? 0
    const left = (domain?.limits.maxMemory ?? Number.POSITIVE_INFINITY) - account.total
    if (domain && pages > left) return limitFacts(domain, 'maxMemory', account.total, pages)
    if (domain && granter !== domid && from + pages > left - pages) {
      return {
        ...limitFacts(domain, 'maxMemory', from, pages),
        limitValue: Math.floor((from + left) / 2),
        limitUnit: `pages of domain ${granter} in domain ${domid}`,
      }
    }
    account.total += pages
    account.from.set(granter, from + pages)
    this.#memory.set(domid, account)
    return undefined
  }

  giveMemory(domid: number, granter: number, pages: number): void {
    const account = this.#memory.get(domid)
    if (!account) return
    const left = (account.from.get(granter) ?? 0) - pages
    account.total -= pages
    if (left === 0) account.from.delete(granter)
    else account.from.set(granter, left)
    if (account.total === 0) this.#memory.delete(domid)
  }

  /** Pages that a domain can reach. */
  memoryOf(domid: number): number {
    return this.#memory.get(domid)?.total ?? 0
  }

  /** Descriptors that all domains have. */
  get descriptors(): number {
    return this.#descriptorsUsed
  }
}
