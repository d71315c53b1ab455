import { ERRNO } from '../abi/errno.ts'
import { XenError } from '../base/errors.ts'
import * as sockets from '../native/sockets.ts'
import { MSG_DONTWAIT } from '../native/sockets.ts'
import type { EventLoop } from './event-loop.ts'

/**
 * Stream sockets that carry nothing and end when either side does: a worker that was terminated
 * closes what its event loop has, and leaves its call socket open.
 */
export class Lifelines {
  readonly #loop: EventLoop
  /** Our ends, by the client's call socket. */
  readonly #ends = new Map<number, number>()
  /** What a lifeline carries. */
  readonly #nothing = new Uint8Array(1)

  constructor(loop: EventLoop) {
    this.#loop = loop
  }

  /** The end to hand to a client, instead of any that it had; `ended` is called when it lets go. */
  make(client: number, ended: () => void): number {
    const pair = sockets.socketpair(sockets.SOCK_STREAM)
    if (typeof pair === 'number') throw new XenError(pair, 'socketpair')
    this.end(client)
    this.#ends.set(client, pair[0])
    sockets.refuseDescriptors(pair[0])
    this.#loop.watch(pair[0], () => {
      // An event of this turn can be of a descriptor that had this number before.
      const length = sockets.receive(pair[0], this.#nothing, MSG_DONTWAIT)
      if (length !== -ERRNO.EAGAIN) ended()
    })
    return pair[1]
  }

  /** Ends a client's lifeline, if it has one. */
  end(client: number): void {
    const end = this.#ends.get(client)
    if (end !== undefined) this.#loop.unwatch(end)
    this.#ends.delete(client)
  }
}
