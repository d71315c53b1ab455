import type { Platform } from '../platform.ts'
import { Agent } from './agent.ts'
import { Puppet } from './puppet.ts'
import type { Reply, Request } from './puppet-protocol.ts'

/** A puppet inside this process: one over each process of a world, or the runner itself on Xen. */
export class LocalPuppet extends Puppet {
  readonly pid: number
  readonly #agent: Agent
  readonly #kill: (() => void) | undefined

  /** Without `kill` the puppet cannot be ended, since that would take the runner along. */
  constructor(platform: Platform, pid: number, kill?: () => void) {
    super()
    this.pid = pid
    this.#agent = new Agent(platform)
    this.#kill = kill
  }

  override call(request: Request): Promise<Reply> {
    return this.#agent.perform(request)
  }

  override async kill(): Promise<void> {
    this.#assertDisposable()
    this.#kill?.()
  }

  override async exit(): Promise<void> {
    this.#assertDisposable()
    await this.call({ op: 'exit' })
  }

  #assertDisposable(): void {
    if (!this.#kill) throw new Error('a case must end a disposable puppet, not this one')
  }
}
