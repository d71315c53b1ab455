import type { Socket } from 'node:net'
import type { GuestServices } from './guest-services.ts'
import { Puppet } from './puppet.ts'
import { PuppetLine } from './puppet-line.ts'
import type { Reply, Request } from './puppet-protocol.ts'

/** A puppet that is a process of a guest of the test bed, spoken to by network. */
export class GuestPuppet extends Puppet {
  readonly pid: number
  readonly #services: GuestServices
  readonly #socket: Socket
  readonly #line: PuppetLine

  /** Resolves once it said hello. */
  static async start(services: GuestServices): Promise<GuestPuppet> {
    const socket = await services.puppet()
    const line = new PuppetLine({ input: socket, output: socket, kill: () => socket.destroy() })
    socket.once('close', () => line.fail(new Error('the puppet in a guest died')))
    const { pid } = await line.hello
    return new GuestPuppet(services, socket, line, Number(pid))
  }

  private constructor(services: GuestServices, socket: Socket, line: PuppetLine, pid: number) {
    super()
    this.pid = pid
    this.#services = services
    this.#socket = socket
    this.#line = line
  }

  override async call(request: Request): Promise<Reply> {
    if (this.#line.error) throw this.#line.error
    return this.#line.call(request)
  }

  override async kill(): Promise<void> {
    if (this.#line.error) return
    await this.#services.kill(this.pid)
    this.lose()
  }

  override async exit(): Promise<void> {
    if (this.#line.error) return
    this.#line.sendExit()
    await this.#services.ended(this.pid)
    this.lose()
  }

  /** It is gone, with its domain perhaps, which closes no connection. */
  lose(): void {
    this.#line.fail(new Error(`puppet ${this.pid} is dead`))
    this.#socket.destroy()
  }
}
