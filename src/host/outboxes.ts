import { ERRNO } from '../abi/errno.ts'
import { nanoseconds } from '../base/nanoseconds.ts'
import type { Domain } from '../kernel/domain.ts'
import type { Answer } from './answer.ts'
import type { Budget } from './budget.ts'
import { CALL_TIMEOUT_MS, OUTBOX_BYTES, OUTBOXES_MAX } from './limits.ts'
import { sealedMemfd } from './memfd.ts'
import { OutboxReader, type QueuedCall } from './outbox-reader.ts'
import type { BodyReader } from './wire.ts'

/** The outboxes of all clients. */
export class Outboxes {
  readonly #budget: Budget
  readonly #failed: (client: number, error: unknown) => void
  readonly #all: OutboxReader[] = []
  #isEmptying = false

  /** `failed` is told of a client that left what is no call. */
  constructor(budget: Budget, failed: (client: number, error: unknown) => void) {
    this.#budget = budget
    this.#failed = failed
  }

  /** Makes one for a client of a domain, which gets its descriptor; without one it asks always. */
  open(client: number, { domid }: Domain, body: BodyReader): Answer {
    const age = nanoseconds() - body.u64()
    body.end()
    // Another time namespace: its calls could not be put in order.
    if (age < 0 || age > CALL_TIMEOUT_MS * 1e6) return { result: -ERRNO.EINVAL }
    if (this.#all.some(outbox => outbox.client === client)) return { result: -ERRNO.EEXIST }
    if (this.#all.length >= OUTBOXES_MAX) return { result: -ERRNO.EAGAIN }
    if (this.#budget.takeDescriptors(domid, 1)) return { result: -ERRNO.ENFILE }
    const file = sealedMemfd('interdom-outbox', OUTBOX_BYTES)
    if (typeof file === 'number') {
      this.#budget.giveDescriptors(domid, 1)
      return { result: file }
    }
    this.#all.push(new OutboxReader(client, file))
    return { result: 0, fds: [file.fd] }
  }

  close(client: number, domid: number): void {
    const at = this.#all.findIndex(outbox => outbox.client === client)
    if (at < 0) return
    const [closed] = this.#all.splice(at, 1)
    closed?.close()
    this.#budget.giveDescriptors(domid, 1)
  }

  /**
   * Has `make` make the calls that were left up to now, in the order in which they were. One that
   * comes meanwhile waits for the next time: what was left before it, elsewhere, may have been
   * missed.
   */
  empty(make: (call: QueuedCall) => void): void {
    if (this.#isEmptying || this.#all.every(isEmpty)) return
    this.#isEmptying = true
    try {
      this.#takeAll(nanoseconds(), make)
    } finally {
      this.#isEmptying = false
    }
  }

  /** Calls were taken and wait for the next time, of which nobody will tell. */
  get isBehind(): boolean {
    return this.#all.some(hasTaken)
  }

  #takeAll(now: number, make: (call: QueuedCall) => void): void {
    // From the end: one that fails leaves the list.
    for (let i = this.#all.length - 1; i >= 0; i--) {
      const outbox = this.#all[i] as OutboxReader
      try {
        outbox.take(now)
      } catch (error) {
        this.#fail(outbox, error)
      }
    }
    for (let next = earliest(this.#all, now); next; next = earliest(this.#all, now)) {
      try {
        make(next.next(now))
      } catch (error) {
        this.#fail(next, error)
      }
    }
  }

  #fail(outbox: OutboxReader, error: unknown): void {
    outbox.forget()
    this.#failed(outbox.client, error)
  }
}

function isEmpty(outbox: OutboxReader): boolean {
  return outbox.isEmpty
}

function hasTaken(outbox: OutboxReader): boolean {
  return outbox.hasTaken
}

/** Whose next call is the oldest, and not younger than `now`; undefined when there is none. */
function earliest(outboxes: readonly OutboxReader[], now: number): OutboxReader | undefined {
  let found: OutboxReader | undefined
  let time = now
  for (const outbox of outboxes) {
    if (outbox.time > time) continue
    found = outbox
    time = outbox.time
  }
  return found
}
