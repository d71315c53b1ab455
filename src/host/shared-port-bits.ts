import { PORT_MASKED, PORT_PENDING, type PortBits } from '../kernel/event-ring.ts'
import { compareExchange, load } from '../memory/atomics.ts'

/**
 * The two bits of a port in a word that its receiver, its senders and the host share. Whoever
 * sends turns an idle word into MASKED and thereby owes the receiver one message; everybody else
 * leaves PENDING behind, without a system call.
 *
 * A hostile sender can write what it likes here: it loses or repeats events of its own channel.
 */
export class SharedPortBits implements PortBits {
  enabled = true
  /** Of the words of its inbox. */
  readonly slot: number
  readonly #words: Uint32Array

  constructor(words: Uint32Array, slot: number) {
    this.slot = slot
    this.#words = words
  }

  send(): boolean {
    for (;;) {
      const word = load(this.#words, this.slot)
      if ((word & PORT_PENDING) !== 0) return false
      const next = word === 0 ? PORT_MASKED : word | PORT_PENDING
      if (compareExchange(this.#words, this.slot, word, next) === word) return word === 0
    }
  }

  unmask(): boolean {
    for (;;) {
      const word = load(this.#words, this.slot)
      const isPending = (word & PORT_PENDING) !== 0
      const next = isPending ? PORT_MASKED : 0
      if (compareExchange(this.#words, this.slot, word, next) === word) return isPending
    }
  }

  /** Whether a message about this port can be true: the sender masked it before it wrote. */
  get isMasked(): boolean {
    return (load(this.#words, this.slot) & PORT_MASKED) !== 0
  }
}
