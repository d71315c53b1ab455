import type { Domain } from '../kernel/domain.ts'
import * as sockets from '../native/sockets.ts'
import { MSG_DONTWAIT, MSG_PEEK } from '../native/sockets.ts'
import type { LongCall } from './answer.ts'
import type { Received } from './message-socket.ts'
import { BodyWriter, FLAG_BODY_IN_FD, HEADER_SIZE } from './wire.ts'

/** A client's call under way. */
export interface Unfinished {
  readonly client: number
  readonly domain: Domain
  readonly request: Received
  readonly call: LongCall
  /** Where its answer is written. */
  readonly answer: BodyWriter
}

/**
 * Calls that take several turns of the loop. Each turn does a slice of the one that waited longest,
 * so that whoever comes meanwhile waits for a slice and not for a call.
 *
 * What such a call was asked with stays in memory until it is done. Of bodies that came in a
 * descriptor, and may have 16 MiB, that is one for each domain: while it is there, other clients of
 * the domain that send one wait with theirs unread.
 */
export class LongCalls {
  readonly #calls: Unfinished[] = []
  /** Clients that wait for room, by domain. */
  readonly #waiting = new Map<Domain, Set<number>>()
  readonly #header = new Uint8Array(HEADER_SIZE)

  get size(): number {
    return this.#calls.length
  }

  has(client: number): boolean {
    return this.#calls.some(call => call.client === client)
  }

  /** Whoever asked is not listened to until it is answered. */
  add(call: Omit<Unfinished, 'answer'>): void {
    this.#calls.push({ ...call, answer: new BodyWriter() })
  }

  /** The one whose turn it is, which goes to the end of the line. */
  next(): Unfinished | undefined {
    const call = this.#calls.shift()
    if (call) this.#calls.push(call)
    return call
  }

  /** A client's call is answered, or the client gone: who may be listened to again. */
  end(client: number): ReadonlySet<number> {
    for (const waiting of this.#waiting.values()) waiting.delete(client)
    const at = this.#calls.findIndex(call => call.client === client)
    const [ended] = at < 0 ? [] : this.#calls.splice(at, 1)
    const waiting = ended && this.#waiting.get(ended.domain)
    if (!ended || !waiting) return NOBODY
    this.#waiting.delete(ended.domain)
    return waiting
  }

  /** Whether a client's next request must stay unread for now; then {@link end} tells when not. */
  mustWait(client: number, domain: Domain): boolean {
    if (!this.#calls.some(call => call.domain === domain && isCarried(call.request))) return false
    const length = sockets.receive(client, this.#header, MSG_PEEK | MSG_DONTWAIT)
    const flags = (this.#header[2] ?? 0) | ((this.#header[3] ?? 0) << 8)
    if (length !== HEADER_SIZE || !isCarried({ flags })) return false
    const waiting = this.#waiting.get(domain) ?? new Set()
    this.#waiting.set(domain, waiting.add(client))
    return true
  }
}

const NOBODY: ReadonlySet<number> = new Set()

function isCarried({ flags }: Pick<Received, 'flags'>): boolean {
  return (flags & FLAG_BODY_IN_FD) !== 0
}
