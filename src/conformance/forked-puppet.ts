import { readFileSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { Puppet } from './puppet.ts'
import { PuppetLine } from './puppet-line.ts'
import type { Reply, Request } from './puppet-protocol.ts'

/** A puppet that another one forked: it has what that one had at that moment. */
export class ForkedPuppet extends Puppet {
  readonly pid: number
  readonly #line: PuppetLine

  /** Resolves once the child said hello on its line. */
  static async of(pid: number, stream: Duplex): Promise<ForkedPuppet> {
    const kill = (): void => killIfThere(pid)
    const line = new PuppetLine({ input: stream, output: stream, kill })
    stream.once('close', () => line.fail(new Error(`the forked puppet ${pid} died`)))
    await line.hello
    return new ForkedPuppet(pid, line)
  }

  private constructor(pid: number, line: PuppetLine) {
    super()
    this.pid = pid
    this.#line = line
  }

  override async call(request: Request): Promise<Reply> {
    if (this.#line.error) throw this.#line.error
    return this.#line.call(request)
  }

  override async kill(): Promise<void> {
    killIfThere(this.pid)
    await this.#end()
  }

  override async exit(): Promise<void> {
    this.#line.sendExit()
    await this.#end()
  }

  /** It is no child of ours, so nobody tells us: we look until it is gone, or a zombie. */
  async #end(): Promise<void> {
    while (!/^Z?$/.test(stateOf(this.pid))) await setImmediate()
    this.#line.fail(new Error(`the forked puppet ${this.pid} is dead`))
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It is gone already.
  }
}

/** The letter of a process's state, or nothing when there is none. Source: man proc_pid_stat. */
function stateOf(pid: number): string {
  try {
    // The name before it may hold anything, spaces and brackets too.
    return /\) (\S)[^)]*$/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? ''
  } catch {
    return ''
  }
}
