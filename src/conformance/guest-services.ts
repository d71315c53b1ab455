import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface, type Interface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'

/** Where a guest's agent listens, which is a shell for whoever says so first. */
const AGENT_PORT = 7
const PUPPET_PORT = 8

const TRIES = 500
const TRY_EVERY_MS = 20

/**
 * What a guest of the test bed does for the suite: behind a port it starts a puppet for each
 * connection, and a shell of its agent ends them. A command by `domu` makes some twenty processes,
 * half a second of an emulated machine; a connection makes one or two.
 */
export class GuestServices {
  readonly #domid: number
  readonly #shell: Socket
  readonly #answers: Interface
  readonly #end = new AbortController()

  /** @param program - Where the guest has the puppet in C. */
  static async start(program: string, domid: number): Promise<GuestServices> {
    const shell = await connectTo(domid, AGENT_PORT)
    const serve = `setsid nc -ll -p ${PUPPET_PORT} -e ${program} </dev/null >/dev/null 2>&1 &`
    shell.write(`shell\nexport INTERDOM_DOMID=${domid}; ${serve}\n`)
    return new GuestServices(domid, shell)
  }

  private constructor(domid: number, shell: Socket) {
    this.#domid = domid
    this.#shell = shell
    // Of a guest that was destroyed nothing comes any more, and nobody asks.
    shell.on('error', () => {})
    shell.once('close', () => this.#end.abort(new Error(`the shell of guest ${domid} is gone`)))
    this.#answers = createInterface({ input: shell })
  }

  /** The line to a new puppet. */
  puppet(): Promise<Socket> {
    return connectTo(this.#domid, PUPPET_PORT)
  }

  /** Resolves once the kernel has released all that the process held: it is gone, or a zombie. */
  async ended(pid: number): Promise<void> {
    const state = `{ read -r _ _ state _ </proc/${pid}/stat; } 2>/dev/null`
    await this.#ask(`while ${state} && [ "$state" != Z ]; do :; done`)
  }

  async kill(pid: number): Promise<void> {
    await this.#ask(`kill -9 ${pid}`)
    await this.ended(pid)
  }

  close(): void {
    this.#answers.close()
    this.#shell.destroy()
  }

  async #ask(command: string): Promise<void> {
    const answer = once(this.#answers, 'line', { signal: this.#end.signal })
    this.#shell.write(`${command}; echo\n`)
    await answer
  }
}

/** What listens in a guest does so some time after it was started. */
async function connectTo(domid: number, port: number): Promise<Socket> {
  for (let tries = 1; ; tries++) {
    const socket = connect({ host: `10.0.${domid}.2`, port, noDelay: true })
    try {
      await once(socket, 'connect')
      return socket
    } catch (cause) {
      socket.destroy()
      if (tries === TRIES) throw new Error(`guest ${domid} does not answer`, { cause })
      await setTimeout(TRY_EVERY_MS)
    }
  }
}
