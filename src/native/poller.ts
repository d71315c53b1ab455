import { close, setStatusFlags, statusFlags } from './files.ts'
import { koffi, type Result } from './koffi.ts'
import { epoll, epollAdd, POLLIN } from './waiting.ts'

type Handle = ReturnType<ReturnType<typeof koffi>['node']['poll']>

/**
 * Descriptors being watched: libuv refuses a second handle on one, and a handle that nobody
 * references dies at the next collection of garbage.
 */
const watched = new Map<number, Poller>()

/** Whether this thread has come to its end: nobody is left to be told. */
let isOver = false
process.once('exit', () => {
  isOver = true
  for (const poller of watched.values()) poller.disarm()
})

/**
 * Tells the event loop's thread when a descriptor becomes readable that `net.Socket` refuses: an
 * eventfd, an epoll descriptor, /dev/xen/evtchn. One-shot: `arm()`, one call of `onReadable`, and
 * silence until the next `arm()`; armed while readable it calls at once. While armed it keeps the
 * process alive, unless `unref()`ed.
 *
 * The descriptor stays the caller's, who closes the poller before it. A call says "look": with an
 * error condition too (evtchn after an overflow reports POLLERR alone), so that the caller asks
 * poll(2) or reads.
 *
 * It wraps koffi.node.poll, which is undocumented and sharp in six places (koffi 3.3.4, uv.cc):
 *
 *  - A descriptor that cannot be watched aborts the process from the constructor. So each one is
 *    first tried on an epoll of our own.
 *  - libuv makes the descriptor non-blocking, and with it every copy of it. So the flags are put
 *    back: a blocking read stays one.
 *  - The callback is a bare function call, after which Node runs no microtasks: a promise resolved
 *    in it may wait for ever. And an exception in it surfaces from some later native call. So the
 *    callback does nothing but setImmediate, which runs in the same turn of the loop.
 *  - Every method crashes after close(). So the handle is forgotten there.
 *  - When a thread ends, Node runs its loop once more to close what is open; a callback then aborts
 *    the process, all its threads. So everything is disarmed at the thread's `exit`.
 *  - The uv handle is level-triggered. So it is stopped before anything else.
 */
export class Poller {
  readonly #fd: number
  readonly #onReadable: () => void
  #handle: Handle | undefined
  #isArmed = false
  #isClosed = false
  #isReferenced = true

  /**
   * Watches nothing before `arm()`. Whether the descriptor can be watched at all is told by
   * {@link pollable}; for one that cannot, `arm()` answers its -errno.
   */
  constructor(fd: number, onReadable: () => void) {
    this.#fd = fd
    this.#onReadable = onReadable
  }

  get isArmed(): boolean {
    return this.#isArmed
  }

  /** Asks for one call of `onReadable`. 0, or -errno for what cannot be watched. Idempotent. */
  arm(): Result {
    if (this.#isClosed) throw new Error('arm() of a closed poller')
    if (this.#isArmed || isOver) return 0
    if (this.#handle) {
      this.#handle.start({ readable: true }, this.#look)
    } else {
      const result = this.#open()
      if (result < 0) return result
    }
    this.#isArmed = true
    return 0
  }

  /** Takes back `arm()`: `onReadable` will not be called. */
  disarm(): void {
    this.#isArmed = false
    this.#handle?.stop()
  }

  /** An armed poller keeps the process alive: the default. */
  ref(): void {
    this.#isReferenced = true
    this.#handle?.ref()
  }

  unref(): void {
    this.#isReferenced = false
    this.#handle?.unref()
  }

  /** Lets go of the descriptor, without closing it. Idempotent. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#isArmed = false
    if (!this.#handle) return
    this.#handle.close()
    this.#handle = undefined
    watched.delete(this.#fd)
  }

  #open(): Result {
    if (watched.has(this.#fd)) throw new Error(`descriptor ${this.#fd} has a poller already`)
    const result = pollable(this.#fd)
    if (result < 0) return result
    const flags = statusFlags(this.#fd)
    this.#handle = koffi().node.poll(this.#fd, { readable: true }, this.#look)
    setStatusFlags(this.#fd, flags)
    watched.set(this.#fd, this)
    if (!this.#isReferenced) this.#handle.unref()
    return 0
  }

  readonly #look = (): void => {
    this.#handle?.stop()
    if (this.#isArmed) setImmediate(this.#tell)
  }

  readonly #tell = (): void => {
    if (!this.#isArmed) return
    // Taken back and armed again meanwhile: the handle may have been started a second time.
    this.disarm()
    this.#onReadable()
  }
}

/** 0 if epoll accepts the descriptor, else -EPERM (a file, gntalloc, gntdev), -EBADF, -EMFILE. */
export function pollable(fd: number): Result {
  const probe = epoll()
  if (probe < 0) return probe
  const result = epollAdd(probe, fd, POLLIN)
  close(probe)
  return result
}
