import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Puppet } from './puppet.ts'
import {
  decodeLine,
  encodeLine,
  type Message,
  PUPPET_PROTOCOL_VERSION,
  type Reply,
  type Request,
} from './puppet-protocol.ts'

/** How long a child may think about one request before it counts as hung. */
const ANSWER_WITHIN_MS = 120_000

/** How a puppet in a process of its own is started. */
export interface ChildPuppetOptions {
  /** The program and its arguments. */
  readonly command: readonly [string, ...string[]]
  readonly env?: NodeJS.ProcessEnv
  /** Resolves once the kernel has released all that the dead process held. */
  readonly released?: (pid: number) => Promise<void>
}

interface Pending {
  resolve(reply: Reply): void
  reject(error: Error): void
}

/** A puppet in a process of its own, spoken to in lines (puppet-protocol.ts). */
export class ChildPuppet extends Puppet {
  readonly pid: number
  readonly domid: number
  readonly #child: ChildProcess
  readonly #released: ((pid: number) => Promise<void>) | undefined
  readonly #pending: Map<number, Pending>
  #lastId = 0

  /** Starts a child; resolves once it said hello. */
  static async start(options: ChildPuppetOptions): Promise<ChildPuppet> {
    const [program, ...args] = options.command
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: options.env ?? process.env,
    })
    const pending = new Map<number, Pending>()
    const hello = await new Promise<Message>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code, signal) => {
        const error = new Error(`the puppet died (${signal ?? `exit status ${code}`})`)
        reject(error)
        for (const one of pending.values()) one.reject(error)
        pending.clear()
      })
      // A write to a child that just died is an EPIPE here; its exit tells the story better.
      child.stdin.on('error', () => {})
      createInterface({ input: child.stdout }).on('line', line => {
        const message = decodeLine(line)
        if ('hello' in message) resolve(message)
        else settle(pending, message)
      })
    })
    if (hello.hello !== PUPPET_PROTOCOL_VERSION) {
      child.kill('SIGKILL')
      throw new Error(`the puppet speaks version ${hello.hello}, ${PUPPET_PROTOCOL_VERSION} wanted`)
    }
    return new ChildPuppet(child, Number(hello.domid), pending, options.released)
  }

  private constructor(
    child: ChildProcess,
    domid: number,
    pending: Map<number, Pending>,
    released: ((pid: number) => Promise<void>) | undefined,
  ) {
    super()
    this.#child = child
    this.pid = child.pid ?? 0
    this.domid = domid
    this.#pending = pending
    this.#released = released
  }

  override async call(request: Request): Promise<Reply> {
    if (this.#isDead) throw new Error(`puppet ${this.pid} is dead`)
    const id = ++this.#lastId
    const patience = ANSWER_WITHIN_MS + (request.op === 'ready' ? request.timeoutMs : 0)
    const reply = new Promise<Reply>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject })
    })
    const watchdog = setTimeout(() => this.#child.kill('SIGKILL'), patience)
    this.#child.stdin?.write(`${encodeLine({ id, ...request })}\n`)
    try {
      return await reply
    } finally {
      clearTimeout(watchdog)
    }
  }

  override async kill(): Promise<void> {
    await this.#end(() => this.#child.kill('SIGKILL'))
  }

  override async exit(): Promise<void> {
    await this.#end(() => this.#child.stdin?.write(`${encodeLine({ id: 0, op: 'exit' })}\n`))
  }

  get #isDead(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  async #end(how: () => void): Promise<void> {
    if (this.#isDead) return
    const gone = once(this.#child, 'exit')
    how()
    await gone
    await this.#released?.(this.pid)
  }
}

/** Hands a reply to the call that waits for it. */
function settle(pending: Map<number, Pending>, message: Message): void {
  const { id, error, ...reply } = message
  const one = pending.get(Number(id))
  pending.delete(Number(id))
  if (typeof error === 'string') one?.reject(new Error(`puppet: ${error}`))
  else one?.resolve(reply as unknown as Reply)
}
