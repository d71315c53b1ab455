import type { GrantName } from '../abi/gntdev.ts'
import { connect } from '../connect.ts'
import type { Connection } from '../connection.ts'
import type { Port } from '../evtchn/port.ts'
import type { Mapping } from '../grant/mapping.ts'
import type { PeerAnswer, PeerCall } from './demo-peer.ts'
import { read, write } from './demo-steps.ts'

/** The program of domain 2 in the demo: does what it is told over the IPC channel of its parent. */
class Peer {
  readonly #xen: Connection
  #page: Mapping | undefined
  #port: Port | undefined

  constructor(xen: Connection) {
    this.#xen = xen
  }

  async call({ name, argument }: PeerCall): Promise<unknown> {
    switch (name) {
      case 'map':
        this.#page = this.#xen.map(argument as GrantName[], { writable: true })
        return read(this.#page.bytes)
      case 'write':
        return write(this.#mapped().bytes, String(argument))
      case 'bind': {
        const port = Number(argument)
        this.#port = this.#xen.evtchn.bindInterdomain({ domid: 1, port })
        // Xen sends the binding end an event at once, which is not the one to be heard later.
        return this.#hear()
      }
      case 'hear':
        return this.#hear()
      case 'notify':
        return this.#bound().notify()
      case 'arm': {
        const page = this.#mapped()
        const clearByte = Number(argument)
        page.bytes[clearByte] = 1
        return page.notifyOnUnmap({ clearByte, sendEvent: this.#bound() })
      }
    }
  }

  async #hear(): Promise<void> {
    const port = this.#bound()
    await port.pending()
    port.unmask()
  }

  #mapped(): Mapping {
    if (!this.#page) throw new Error('no page was mapped')
    return this.#page
  }

  #bound(): Port {
    if (!this.#port) throw new Error('no port was bound')
    return this.#port
  }
}

async function main(): Promise<void> {
  const peer = new Peer(await connect())
  process.on('message', (call: PeerCall) => {
    peer.call(call).then(
      value => answer({ id: call.id, value }),
      error => answer({ id: call.id, error: String(error) }),
    )
  })
  answer({ id: 0 })
}

function answer(message: PeerAnswer): void {
  process.send?.(message)
}

process.on('disconnect', () => process.exit())
void main()
