import { XenError } from '../base/errors.ts'
import { close } from '../native/files.ts'
import { EpollEvents, epoll, epollAdd, epollDelete, POLLIN } from '../native/waiting.ts'
import { LOOP_EVENTS_MAX } from './limits.ts'

/** What the host waits for: descriptors that it owns, each with what to do when it can be read. */
export class EventLoop {
  readonly #epoll: number
  readonly #handlers = new Map<number, () => void>()
  readonly #events = new EpollEvents(LOOP_EVENTS_MAX)

  constructor() {
    this.#epoll = epoll()
    if (this.#epoll < 0) throw new XenError(this.#epoll, 'epoll_create1')
  }

  has(fd: number): boolean {
    return this.#handlers.has(fd)
  }

  watch(fd: number, handler: () => void): void {
    this.#handlers.set(fd, handler)
    this.resume(fd)
  }

  /** Ends the watch and closes the descriptor. */
  unwatch(fd: number): void {
    this.#handlers.delete(fd)
    this.pause(fd)
    close(fd)
  }

  /** A descriptor that can be read, and will not be for now, must not keep the loop awake. */
  pause(fd: number): void {
    epollDelete(this.#epoll, fd)
  }

  resume(fd: number): void {
    const result = epollAdd(this.#epoll, fd, POLLIN)
    if (result < 0) throw new XenError(result, 'epoll_ctl')
  }

  /** Looks at a descriptor now. */
  look(fd: number): void {
    this.#handlers.get(fd)?.()
  }

  /** Waits up to `timeoutMs`, -1 for ever; how many descriptors {@link handler} then has. */
  wait(timeoutMs: number): number {
    return this.#events.wait(this.#epoll, timeoutMs)
  }

  /** What to do about the n-th; undefined when it is watched no more. */
  handler(n: number): (() => void) | undefined {
    return this.#handlers.get(this.#events.data(n))
  }

  close(): void {
    for (const fd of [...this.#handlers.keys()]) this.unwatch(fd)
    close(this.#epoll)
  }
}
