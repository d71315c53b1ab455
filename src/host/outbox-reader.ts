import { copyWords } from '../base/copy-words.ts'
import { ProtocolError } from '../base/errors.ts'
import { nanoseconds } from '../base/nanoseconds.ts'
import { compareExchange, load } from '../memory/atomics.ts'
import { OUTBOX_BYTES, QUEUED_CALLS_MAX } from './limits.ts'
import type { Memfd } from './memfd.ts'
import { BodyReader, HEADER_SIZE, type MessageBytes, OUTBOX_LENGTH } from './wire.ts'

const CAPACITY = OUTBOX_BYTES - HEADER_SIZE
const HEADER_WORDS = HEADER_SIZE / 4
const NEVER = Number.POSITIVE_INFINITY

/** A call that a client has left. */
export interface QueuedCall {
  readonly client: number
  readonly op: number
  readonly body: BodyReader
}

/** The host's end of one outbox. Its layout is drawn in wire.ts. */
export class OutboxReader {
  readonly client: number
  readonly #file: Memfd
  #room = takenRoom()
  /** What was taken and is not made yet: seldom more than one copy. */
  readonly #taken: BodyReader[] = []
  /** Calls of the first copy that were made. */
  #count = 0
  /** When the next call was made that was taken: nanoseconds; Infinity when there is none. */
  time: number = NEVER

  constructor(client: number, file: Memfd) {
    this.client = client
    this.#file = file
  }

  /** Nothing of it is to be made: neither what was taken, nor what lies there. */
  get isEmpty(): boolean {
    return !this.hasTaken && load(this.#file.words, OUTBOX_LENGTH) === 0
  }

  /** Something was taken that is not made yet. */
  get hasTaken(): boolean {
    return this.time !== NEVER
  }

  /** Takes a copy of what is there, which can change at any time. `now` is a time that is past. */
  take(now: number): void {
    const { words } = this.#file
    let length = load(words, OUTBOX_LENGTH)
    // What was taken before lies there still.
    if (length > 0 && this.#taken.length > 0) this.#room = takenRoom()
    for (let copied = 0; length > 0; ) {
      // Each turn has more than the one before, so there are not many.
      if (length <= copied || length > CAPACITY || length % 4 !== 0) {
        throw new ProtocolError('ERR_HOST_PROTOCOL', `${length} bytes in an outbox`)
      }
      const start = copied >>> 2
      const count = (length >>> 2) - start
      copyWords(words, HEADER_WORDS + start, count, this.#room.words, start)
      copied = length
      length = compareExchange(words, OUTBOX_LENGTH, copied, 0)
      if (length !== copied) continue
      this.#taken.push(new BodyReader(this.#room, 0, copied))
      if (this.#taken.length === 1) this.#advance(now)
      return
    }
  }

  /** The next of the calls that were taken, for as long as there is one; `now` as in `take`. */
  next(now: number): QueuedCall {
    if (++this.#count > QUEUED_CALLS_MAX) {
      const reason = `more than ${QUEUED_CALLS_MAX} calls in an outbox`
      throw new ProtocolError('ERR_HOST_PROTOCOL', reason)
    }
    const calls = this.#taken[0] as BodyReader
    const op = calls.u32()
    const body = calls.inner()
    this.#advance(now)
    return { client: this.client, op, body }
  }

  /** Nothing more of it is made. */
  forget(): void {
    this.#taken.length = 0
    this.time = NEVER
  }

  close(): void {
    this.forget()
    this.#file.close()
  }

  #advance(now: number): void {
    if (this.#taken[0]?.isAtEnd) {
      this.#taken.shift()
      this.#count = 0
    }
    this.time = this.#taken[0]?.u64() ?? NEVER
    if (this.time <= now || this.time === NEVER || this.time <= nanoseconds()) return
    throw new ProtocolError('ERR_HOST_PROTOCOL', 'a call in an outbox is of the future')
  }
}

function takenRoom(): MessageBytes {
  const bytes = new Uint8Array(CAPACITY)
  return { bytes, words: new Uint32Array(bytes.buffer) }
}
