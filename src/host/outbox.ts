import { nanoseconds } from '../base/nanoseconds.ts'
import { compareExchange, load, store } from '../memory/atomics.ts'
import { OUTBOX_BYTES, QUEUED_CALLS_MAX } from './limits.ts'
import type { SharedFile } from './memfd.ts'
import { type BodyWriter, HEADER_SIZE, OUTBOX_LENGTH } from './wire.ts'

/** Bytes of a queued call beside its body. */
const CALL_HEAD = 16
const HIGH = 2 ** 32

/** The client's end of its outbox. Its layout is drawn in wire.ts. */
export class Outbox {
  readonly #file: SharedFile
  readonly #words: Uint32Array
  /** Calls in it, if the host has taken none of them. */
  #calls = 0

  constructor(file: SharedFile) {
    this.#file = file
    this.#words = file.words
  }

  get isEmpty(): boolean {
    return load(this.#words, OUTBOX_LENGTH) === 0
  }

  /** Whether one more call with this body finds room. */
  hasRoom(body: BodyWriter): boolean {
    const used = load(this.#words, OUTBOX_LENGTH)
    if (used === 0) this.#calls = 0
    const room = OUTBOX_BYTES - HEADER_SIZE - used
    return this.#calls < QUEUED_CALLS_MAX && CALL_HEAD + body.length <= room
  }

  /** Appends a call that has room. */
  add(op: number, body: BodyWriter): void {
    const words = this.#words
    const used = load(words, OUTBOX_LENGTH)
    const added = this.#write(used, op, body)
    this.#calls++
    if (compareExchange(words, OUTBOX_LENGTH, used, used + added) === used) return
    // The host has just taken what lay before it.
    this.#calls = 1
    store(words, OUTBOX_LENGTH, this.#write(0, op, body))
  }

  close(): void {
    this.#file.close()
  }

  /** Writes a call behind the first `used` bytes; how many bytes it is. */
  #write(used: number, op: number, body: BodyWriter): number {
    const at = (HEADER_SIZE + used) >>> 2
    const words = this.#words
    const now = nanoseconds()
    words[at] = now
    words[at + 1] = now / HIGH
    words[at + 2] = op
    words[at + 3] = body.length
    body.copyTo(words, at + 4)
    return CALL_HEAD + body.length
  }
}
