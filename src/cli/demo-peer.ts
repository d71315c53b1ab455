import { type ChildProcess, type ForkOptions, fork } from 'node:child_process'
import { entryPoint } from '../base/entry-point.ts'
import type { DemoPeer } from './demo-steps.ts'

/** What the demo asks of its other process, and what that answers. */
export interface PeerCall {
  readonly id: number
  readonly name: 'map' | 'write' | 'bind' | 'hear' | 'notify' | 'arm'
  readonly argument?: unknown
}
export interface PeerAnswer {
  readonly id: number
  readonly value?: unknown
  readonly error?: string
}

/**
 * Starts the other process and resolves when it is connected to its domain. It is killed at the
 * latest when the signal aborts.
 */
export async function startPeer(
  env: NodeJS.ProcessEnv,
  domid: number,
  signal: AbortSignal,
): Promise<DemoPeer> {
  const program = entryPoint(import.meta.url, './demo-peer-main.js')
  const options: ForkOptions = { env, execArgv: [], signal, killSignal: 'SIGKILL' }
  const child = fork(program.pathname, [], options)
  const peer = new ChildPeer(child, domid)
  await peer.ready
  return peer
}

interface Pending {
  resolve(value: unknown): void
  reject(error: Error): void
}

class ChildPeer implements DemoPeer {
  readonly domid: number
  readonly ready: Promise<unknown>
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>
  readonly #pending = new Map<number, Pending>()
  #lastId = 0

  constructor(child: ChildProcess, domid: number) {
    this.#child = child
    this.domid = domid
    this.#exited = new Promise(resolve => child.once('exit', resolve))
    // The first message has no call: the process says that it is there.
    this.ready = this.#awaitAnswer(0)
    child.on('message', (message: PeerAnswer) => this.#settle(message))
    child.once('error', error => this.#rejectAll(error))
    child.once('exit', () => {
      this.#rejectAll(new Error(`process ${child.pid} of domain ${domid} has ended`))
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  map(grants: unknown): Promise<string> {
    return this.#call('map', grants) as Promise<string>
  }

  async write(text: string): Promise<void> {
    await this.#call('write', text)
  }

  async bind(port: number): Promise<void> {
    await this.#call('bind', port)
  }

  async hear(): Promise<void> {
    await this.#call('hear')
  }

  async notify(): Promise<void> {
    await this.#call('notify')
  }

  async arm(clearByte: number): Promise<void> {
    await this.#call('arm', clearByte)
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  #call(name: PeerCall['name'], argument?: unknown): Promise<unknown> {
    const id = ++this.#lastId
    const answer = this.#awaitAnswer(id)
    this.#child.send({ id, name, argument } satisfies PeerCall)
    return answer
  }

  #awaitAnswer(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }))
  }

  #settle({ id, value, error }: PeerAnswer): void {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    if (error === undefined) pending?.resolve(value)
    else pending?.reject(new Error(error))
  }

  #rejectAll(error: Error): void {
    for (const { reject } of this.#pending.values()) reject(error)
    this.#pending.clear()
  }
}
