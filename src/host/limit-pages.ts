import { PAGE_SIZE } from '../abi/page.ts'
import { XenError } from '../base/errors.ts'
import type { Domain } from '../kernel/domain.ts'
import { store } from '../memory/atomics.ts'
import { QUEUE_ROOM_MIN } from './limits.ts'
import { type Memfd, readOnlyMemfd } from './memfd.ts'

/**
 * What clients read of their domain's limits by themselves, a page for each domain:
 *
 *      0                 4
 *     +-----------------+-----------------------------------------------+
 *     | gntdev.limit    | 1: far from the other limits                  |
 *     +-----------------+-----------------------------------------------+
 *
 * A queued call cannot be refused, so near a limit each call that takes room has to be asked for.
 */
export class LimitPages {
  readonly #pages = new Map<Domain, Memfd>()

  /** The page of a domain, made when first asked for. */
  of(domain: Domain): Memfd {
    const known = this.#pages.get(domain)
    if (known) return known
    const made = readOnlyMemfd('interdom-limits', PAGE_SIZE)
    if (typeof made === 'number') throw new XenError(made, 'memfd_create')
    this.#pages.set(domain, made)
    this.publish(domain)
    return made
  }

  /** Shows the limits of a domain, as they are now, to its clients. */
  publish(domain: Domain): void {
    const words = this.#pages.get(domain)?.words
    if (!words) return
    const limit = Math.min(domain.limits['gntdev.limit'], 0xffffffff)
    const room = hasRoom(domain) ? 1 : 0
    if (words[0] !== limit) store(words, 0, limit)
    if (words[1] !== room) store(words, 1, room)
  }

  /** Whether the clients of a domain have been told that they may queue calls that take room. */
  tellsRoom(domain: Domain): boolean {
    return this.#pages.get(domain)?.words[1] === 1
  }

  drop(domain: Domain): void {
    this.#pages.get(domain)?.close()
    this.#pages.delete(domain)
  }
}

function hasRoom({ limits, usage }: Domain): boolean {
  return (
    limits.maxMaps - usage.maps >= QUEUE_ROOM_MIN &&
    limits.maxMapPages - usage.mapPages >= QUEUE_ROOM_MIN &&
    limits.maxMappings - usage.mappings >= QUEUE_ROOM_MIN
  )
}
