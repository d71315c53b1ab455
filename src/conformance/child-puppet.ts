import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { ForkedPuppet } from './forked-puppet.ts'
import { Puppet } from './puppet.ts'
import { PuppetLine } from './puppet-line.ts'
import type { Message, Reply, Request } from './puppet-protocol.ts'
import { ok } from './verdict.ts'

/** How a puppet in a process of its own is started. */
export interface ChildPuppetOptions {
  /** The program and its arguments. */
  readonly command: readonly [string, ...string[]]
  readonly env?: NodeJS.ProcessEnv
  /** Resolves once the kernel has released all that the dead process held. */
  readonly released?: (pid: number) => Promise<void>
  /** How often it can be asked to fork: each child needs a line that is there from the start. */
  readonly forks?: number
}

/** The first of the descriptors that are lines of forked children, behind the usual three. */
const FIRST_LINE = 3

/** A puppet in a process of its own, spoken to in lines (puppet-protocol.ts). */
export class ChildPuppet extends Puppet {
  readonly pid: number
  readonly domid: number
  readonly #child: ChildProcess
  readonly #line: PuppetLine
  readonly #options: ChildPuppetOptions
  readonly #forks: Puppet[] = []

  /** Starts a child; resolves once it said hello. */
  static async start(options: ChildPuppetOptions): Promise<ChildPuppet> {
    const [program, ...args] = options.command
    const forkLines = Array.from({ length: options.forks ?? 0 }, () => 'pipe' as const)
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'inherit', ...forkLines],
      env: options.env ?? process.env,
    })
    const [output, input, , ...unused] = child.stdio as unknown as [
      Duplex,
      Duplex,
      null,
      ...Duplex[],
    ]
    for (const stream of unused) stream.on('error', () => {})
    const line = new PuppetLine({ input, output, kill: () => child.kill('SIGKILL') })
    child.once('error', error => line.fail(error))
    child.once('exit', (code, signal) => {
      line.fail(new Error(`the puppet died (${signal ?? `exit status ${code}`})`))
    })
    return new ChildPuppet(child, line, await line.hello, options)
  }

  private constructor(
    child: ChildProcess,
    line: PuppetLine,
    { pid, domid }: Message,
    options: ChildPuppetOptions,
  ) {
    super()
    this.#child = child
    this.#line = line
    this.pid = Number(pid)
    this.domid = Number(domid)
    this.#options = options
  }

  override async call(request: Request): Promise<Reply> {
    if (this.#isDead) throw new Error(`puppet ${this.pid} is dead`)
    return this.#line.call(request)
  }

  override async kill(): Promise<void> {
    await this.#end(() => this.#child.kill('SIGKILL'))
  }

  override async exit(): Promise<void> {
    await this.#end(() => this.#line.sendExit())
  }

  override async fork(): Promise<Puppet> {
    const line = FIRST_LINE + this.#forks.length
    const stream = this.#child.stdio[line] as Duplex | undefined
    if (!stream) throw new Error(`this puppet can be forked ${this.#forks.length} times`)
    const { result: pid } = await ok(this.call({ op: 'fork', line }))
    const forked = await ForkedPuppet.of(pid, stream)
    this.#forks.push(forked)
    return forked
  }

  /** Ends the process and all that it forked. */
  async discard(): Promise<void> {
    for (const forked of this.#forks) await forked.kill()
    await this.kill()
  }

  get #isDead(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  async #end(how: () => unknown): Promise<void> {
    if (this.#isDead) return
    const gone = once(this.#child, 'exit')
    await how()
    await gone
    await this.#options.released?.(this.pid)
  }
}
