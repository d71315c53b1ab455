import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { HostMachine } from '../../src/start-host.ts'

const PROGRAM = fileURLToPath(new URL('./fixtures/peer.mjs', import.meta.url))

/** A process of a domain that plays a role of fixtures/peer.mjs. */
export class Peer {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(machine: HostMachine, domid: number, role: Record<string, unknown>) {
    this.child = spawn(process.execPath, [PROGRAM, JSON.stringify(role)], {
      env: machine.env(domid),
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const { stdout } = this.child
    if (!stdout) throw new Error('no standard output')
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  }

  /** The next thing that it says. */
  async hear<T>(): Promise<T> {
    const { value, done } = await this.#lines.next()
    if (done) throw new Error('the peer ended without a word')
    return JSON.parse(value) as T
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const exited = once(this.child, 'exit')
    this.child.kill(signal)
    await exited
  }
}
