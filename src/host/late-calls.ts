import { ProtocolError } from '../base/errors.ts'
import type { Domain } from '../kernel/domain.ts'
import type { LimitPages } from './limit-pages.ts'
import { QUEUED_CALLS_MAX } from './limits.ts'

const UNLIMITED = Number.MAX_SAFE_INTEGER

/**
 * Calls that a client queued while there was room for them, and that arrive when there may be none:
 * they hold, since it went on as if they had. A client that still queues when it was told to ask is
 * none of ours, after as many calls as it can have had under way.
 */
export class LateCalls {
  readonly #domain: Domain
  readonly #limitPages: LimitPages
  #late = 0

  constructor(domain: Domain, limitPages: LimitPages) {
    this.#domain = domain
    this.#limitPages = limitPages
  }

  /** Makes a queued call that takes room. */
  make<T>(call: () => T): T {
    if (this.#limitPages.tellsRoom(this.#domain)) {
      this.#late = 0
      return call()
    }
    if (++this.#late > QUEUED_CALLS_MAX) {
      throw new ProtocolError('ERR_HOST_PROTOCOL', 'calls queued where they had to be asked')
    }
    const { limits } = this.#domain
    const { maxMaps, maxMapPages, maxMappings } = limits
    Object.assign(limits, {
      maxMaps: UNLIMITED,
      maxMapPages: UNLIMITED,
      maxMappings: UNLIMITED,
    })
    try {
      return call()
    } finally {
      Object.assign(limits, { maxMaps, maxMapPages, maxMappings })
    }
  }
}
