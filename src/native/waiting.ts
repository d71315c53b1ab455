import { ERRNO } from '../abi/errno.ts'
import { answer, declare, type Result } from './koffi.ts'

/** Events of poll(2); those of epoll(7) have the same values. Source: asm-generic/poll.h. */
export const POLLIN = 0x001
export const POLLOUT = 0x004
export const POLLERR = 0x008
export const POLLHUP = 0x010

const EPOLL_CTL_ADD = 1
const EPOLL_CTL_DEL = 2
const EPOLL_CTL_MOD = 3
const EPOLL_CLOEXEC = 0o2000000

const epollCreate1 = declare('int epoll_create1(int flags)')
const epollCtl = declare('int epoll_ctl(int epoll, int operation, int fd, void *event)')
const epollWait_ = declare('int epoll_wait(int epoll, void *events, int count, int timeoutMs)')
const poll_ = declare('int poll(void *fds, size_t count, int timeoutMs)')

/**
 * A wait without an end, or without any wait, starts again after a signal; one with a timeout
 * answers -EINTR, since only the caller knows what is left of its time.
 */
function waited(timeoutMs: number, call: () => number): Result {
  for (;;) {
    const result = answer(call())
    if (result !== -ERRNO.EINTR || timeoutMs > 0) return result
  }
}

const pollfd = new Int32Array(2)
const pollfdEvents = new Int16Array(pollfd.buffer)
const pollfdBytes = new Uint8Array(pollfd.buffer)

/**
 * poll(2) of one descriptor: the events that it reports, 0 when the time is over, or -errno.
 * `timeoutMs` 0 looks without waiting, -1 waits for ever and blocks the thread.
 */
export function poll(fd: number, events: number, timeoutMs: number): Result {
  pollfd[0] = fd
  pollfdEvents[2] = events
  pollfdEvents[3] = 0
  const result = waited(timeoutMs, () => poll_.invoke(pollfdBytes, 1, timeoutMs))
  return result <= 0 ? result : pollfdEvents[3]!
}

/** epoll_create1(2), close-on-exec. */
export function epoll(): Result {
  return answer(epollCreate1.invoke(EPOLL_CLOEXEC))
}

// struct epoll_event: u32 events, u64 data; packed on x86-64 only (uapi/linux/eventpoll.h).
const WORDS = process.arch === 'x64' ? 3 : 4
const DATA = WORDS - 2

const change = new Uint32Array(WORDS)
const changeBytes = new Uint8Array(change.buffer)

function control(epoll: number, operation: number, fd: number, events: number, data: number) {
  change[0] = events
  change[DATA] = data
  change[DATA + 1] = 0
  return answer(epollCtl.invoke(epoll, operation, fd, changeBytes))
}

/** Watches a descriptor; `data` is a u32 of the caller's, given back with each event. */
export function epollAdd(epoll: number, fd: number, events: number, data: number = fd): Result {
  return control(epoll, EPOLL_CTL_ADD, fd, events, data)
}

export function epollModify(epoll: number, fd: number, events: number, data: number = fd): Result {
  return control(epoll, EPOLL_CTL_MOD, fd, events, data)
}

/** To be called before the descriptor is closed: a duplicate elsewhere would keep it watched. */
export function epollDelete(epoll: number, fd: number): Result {
  return control(epoll, EPOLL_CTL_DEL, fd, 0, 0)
}

/** Room for the answers of epoll_wait(2), used again for each wait. */
export class EpollEvents {
  readonly capacity: number
  readonly #words: Uint32Array
  readonly #bytes: Uint8Array

  constructor(capacity: number) {
    this.capacity = capacity
    this.#words = new Uint32Array(capacity * WORDS)
    this.#bytes = new Uint8Array(this.#words.buffer)
  }

  /**
   * epoll_wait(2): how many entries it filled, 0 when the time is over, or -errno. Blocks the
   * thread; `timeoutMs` -1 is for ever.
   */
  wait(epoll: number, timeoutMs: number): Result {
    return waited(timeoutMs, () => epollWait_.invoke(epoll, this.#bytes, this.capacity, timeoutMs))
  }

  /** What happened to the entry: POLLIN, POLLOUT, POLLERR, POLLHUP. */
  events(entry: number): number {
    return this.#words[entry * WORDS]!
  }

  /** The u32 given to {@link epollAdd}. */
  data(entry: number): number {
    return this.#words[entry * WORDS + DATA]!
  }
}
