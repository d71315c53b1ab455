import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import {
  decodeLine,
  encodeLine,
  type Message,
  PUPPET_PROTOCOL_VERSION,
  type Reply,
  type Request,
} from './puppet-protocol.ts'

/** How long a puppet may think about one request before it counts as hung. */
const ANSWER_WITHIN_MS = 120_000

interface Pending {
  resolve(reply: Reply): void
  reject(error: Error): void
}

/** The two ends of a line to a puppet, and what becomes of one that does not answer. */
export interface PuppetLineOptions {
  readonly input: Readable
  readonly output: Writable
  /** Ends a puppet that hangs; its end then fails the call. */
  readonly kill: () => void
}

/** The line to a puppet in another process: messages of puppet-protocol.ts in both directions. */
export class PuppetLine {
  /** What the puppet said first, its version being ours. */
  readonly hello: Promise<Message>
  readonly #output: Writable
  readonly #kill: () => void
  readonly #pending = new Map<number, Pending>()
  #failHello: (error: Error) => void = () => {}
  #error: Error | undefined
  #lastId = 0

  constructor({ input, output, kill }: PuppetLineOptions) {
    this.#output = output
    this.#kill = kill
    // A write to a puppet that just died is an EPIPE here; its end tells the story better.
    output.on('error', () => {})
    this.hello = new Promise<Message>((resolve, reject) => {
      this.#failHello = reject
      createInterface({ input }).on('line', line => {
        const message = decodeLine(line)
        if (!('hello' in message)) this.#settle(message)
        else if (message.hello === PUPPET_PROTOCOL_VERSION) resolve(message)
        else {
          const versions = `${message.hello}, ${PUPPET_PROTOCOL_VERSION} wanted`
          reject(new Error(`the puppet speaks version ${versions}`))
          kill()
        }
      })
    })
  }

  /** Why nothing can be asked any more, once {@link fail} was told. */
  get error(): Error | undefined {
    return this.#error
  }

  /** The puppet is gone: everybody who waits for it is told. */
  fail(error: Error): void {
    this.#error ??= error
    this.#failHello(error)
    for (const one of this.#pending.values()) one.reject(error)
    this.#pending.clear()
  }

  async call(request: Request): Promise<Reply> {
    const id = ++this.#lastId
    const patience = ANSWER_WITHIN_MS + (request.op === 'ready' ? request.timeoutMs : 0)
    const reply = new Promise<Reply>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject })
    })
    const watchdog = setTimeout(this.#kill, patience)
    this.#output.write(`${encodeLine({ id, ...request })}\n`)
    try {
      return await reply
    } finally {
      clearTimeout(watchdog)
    }
  }

  /** Tells the puppet to exit; its end is the answer. */
  sendExit(): void {
    this.#output.write(`${encodeLine({ id: 0, op: 'exit' })}\n`)
  }

  #settle({ id, error, ...reply }: Message): void {
    const one = this.#pending.get(Number(id))
    this.#pending.delete(Number(id))
    if (typeof error === 'string') one?.reject(new Error(`puppet: ${error}`))
    else one?.resolve(reply as unknown as Reply)
  }
}
