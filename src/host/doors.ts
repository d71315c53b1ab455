import { chmodSync, existsSync, unlinkSync } from 'node:fs'
import { ERRNO } from '../abi/errno.ts'
import { type ErrorFacts, XenError } from '../base/errors.ts'
import { close, O_RDONLY, open } from '../native/files.ts'
import * as sockets from '../native/sockets.ts'
import { MSG_DONTWAIT } from '../native/sockets.ts'
import { noDescriptorLeft } from './descriptor-limit.ts'
import type { EventLoop } from './event-loop.ts'
import type { HostLog } from './host-log.ts'
import {
  ACCEPT_PAUSE_MS,
  ADMINISTRATORS_MAX,
  DOMAINS_MAX,
  LISTEN_BACKLOG,
  LOOP_EVENTS_MAX,
} from './limits.ts'
import { sendFramed } from './message-socket.ts'
import { BodyWriter, OP } from './wire.ts'

/** Why somebody does not become a client, or a domain is not made. */
export class TurnedAway extends Error {
  readonly errno: number
  readonly facts: ErrorFacts

  constructor(errno: number, facts: ErrorFacts) {
    super(new XenError(errno, 'connect host', facts).message)
    this.errno = errno
    this.facts = facts
  }
}

/** The listening sockets of a host, and what it says to those who may not come in. */
export class Doors {
  readonly #loop: EventLoop
  readonly #log: HostLog
  /** Let go when descriptors run out, so that whoever knocks can be turned away. */
  #spareFd = open('/dev/null', O_RDONLY)
  /** Doors at which nobody could even be turned away, until when. */
  readonly #paused = new Map<number, number>()

  constructor(loop: EventLoop, log: HostLog) {
    this.#loop = loop
    this.#log = log
  }

  /** Listens at a path; what was there of another host goes. `admit` owns each who knocks. */
  open(path: string, admit: (client: number) => void): number {
    const socket = sockets.socket(sockets.SOCK_SEQPACKET | sockets.SOCK_NONBLOCK)
    if (existsSync(path)) unlinkSync(path)
    const bound = sockets.bind(socket, path)
    // Before anybody can connect: what may be, whatever the umask says.
    if (bound >= 0) chmodSync(path, 0o600)
    for (const result of [socket, bound, sockets.listen(socket, LISTEN_BACKLOG)]) {
      if (result < 0) throw new XenError(result, 'listen', { path })
    }
    this.#loop.watch(socket, () => {
      for (let i = 0; i < LOOP_EVENTS_MAX; i++) {
        const client = sockets.accept(socket, sockets.SOCK_NONBLOCK)
        if (isOutOfDescriptors(client)) this.#turnAway(socket)
        if (client < 0) return
        admit(client)
      }
    })
    return socket
  }

  shut(socket: number, path: string): void {
    this.#paused.delete(socket)
    this.#loop.unwatch(socket)
    if (existsSync(path)) unlinkSync(path)
  }

  /** Tells whoever connected why not, before its first request, and lets go of it. */
  refuse(client: number, refusal: TurnedAway): void {
    this.tell(client, refusal)
    close(client)
  }

  /** The last words to a client that the host cannot go on with. */
  tell(client: number, refusal: TurnedAway): void {
    const message = new BodyWriter().text(JSON.stringify(refusal.facts))
    sendFramed(client, message.head(OP.hello, 0, 0, -refusal.errno), [], MSG_DONTWAIT)
    this.#log.say('turned away', refusal)
  }

  /** Until a door that is paused opens again. Milliseconds. */
  get pausedMs(): number {
    if (this.#paused.size === 0) return Number.POSITIVE_INFINITY
    return Math.max(0, Math.min(...this.#paused.values()) - performance.now())
  }

  /** Opens the doors whose pause is over. */
  tick(): void {
    for (const [socket, until] of this.#paused) {
      if (performance.now() < until) continue
      this.#paused.delete(socket)
      this.#loop.resume(socket)
    }
  }

  close(): void {
    close(this.#spareFd)
  }

  /** Without this the socket would stay readable, and the loop spin on it. */
  #turnAway(socket: number): void {
    close(this.#spareFd)
    const client = sockets.accept(socket, sockets.SOCK_NONBLOCK)
    if (client >= 0) this.refuse(client, new TurnedAway(ERRNO.ENFILE, noDescriptorLeft('the host')))
    this.#spareFd = open('/dev/null', O_RDONLY)
    if (client >= 0 || client === -ERRNO.EAGAIN) return
    this.#loop.pause(socket)
    this.#paused.set(socket, performance.now() + ACCEPT_PAUSE_MS)
  }
}

function isOutOfDescriptors(result: number): boolean {
  return result < 0 && result !== -ERRNO.EAGAIN
}

export function tooManyDomains(used: number): ErrorFacts {
  return {
    limit: 'limit of',
    limitValue: DOMAINS_MAX,
    limitUnit: 'domains on a host',
    used,
    wanted: 1,
    fix: 'destroy some (interdom host destroy), or start another host with another --dir',
  }
}

export function tooManyOrders(used: number): ErrorFacts {
  const fix = 'end a connection to its control socket'
  const unit = 'connections for orders'
  const limit = { limit: 'limit of', limitValue: ADMINISTRATORS_MAX, limitUnit: unit }
  return { ...limit, used, wanted: 1, fix }
}
