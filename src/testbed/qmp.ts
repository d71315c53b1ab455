import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'

/** One end of a QMP connection (QEMU's docs/interop/qmp-spec): JSON objects, one on each line. */
export class Qmp {
  readonly #output: Writable
  readonly #answers: ((answer: Answer) => void)[] = []
  #ended = false

  constructor(input: Readable, output: Writable) {
    this.#output = output
    // A write to a QEMU that has gone is answered by its end.
    output.on('error', () => undefined)
    const lines = createInterface({ input })
    lines.on('line', line => {
      const message = JSON.parse(line) as Answer
      // The greeting and the events are not answers to anything.
      if ('return' in message || 'error' in message) this.#answers.shift()?.(message)
    })
    lines.once('close', () => {
      this.#ended = true
      for (const answer of this.#answers.splice(0)) answer(gone)
    })
  }

  /** Gives what the command returned; throws what QEMU has against it. */
  async command(execute: string, args: object = {}): Promise<unknown> {
    const answer = await new Promise<Answer>(resolve => {
      if (this.#ended) return resolve(gone)
      this.#answers.push(resolve)
      this.#output.write(`${JSON.stringify({ execute, arguments: args })}\n`)
    })
    if (answer.error !== undefined) throw new Error(`QEMU, ${execute}: ${answer.error.desc}`)
    return answer.return
  }
}

interface Answer {
  return?: unknown
  error?: { desc: string }
}

const gone: Answer = { error: { desc: 'it has ended' } }
