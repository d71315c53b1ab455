import { readFileSync } from 'node:fs'
import {
  type Address,
  close,
  dup,
  ioctl,
  open,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  poll,
  type Result,
  read,
  write,
} from '../native/libc.ts'
import { Poller } from '../native/poller.ts'

export { POLLERR, POLLHUP, POLLIN, POLLOUT }

/** What the platform asks of the machine: tests hand in another one. Answers as in the seam. */
export interface System {
  open(path: string, flags: number): Result
  close(fd: number): Result
  dup(fd: number): Result
  ioctl(fd: number, number: number, argument: Uint8Array | Address): Result
  read(fd: number, into: Uint8Array): Result
  write(fd: number, from: Uint8Array): Result
  /** poll(2): what of `events` is the case, and errors; waits up to `timeoutMs`. */
  poll(fd: number, events: number, timeoutMs: number): Result
  /** Lets the thread sleep. */
  pause(ms: number): void
  /** Text of a small file, trimmed, or undefined when it cannot be read. */
  readText(path: string): string | undefined
  watch(fd: number, onReadable: () => void): Watch
}

/** One-shot: each `arm` leads to one call, `disarm` takes it back. */
export interface Watch {
  arm(): Result
  disarm(): void
  /** While armed it keeps the process alive: so it does from the start. */
  ref(): void
  unref(): void
  close(): void
}

export const realSystem: System = {
  open,
  close,
  dup,
  ioctl,
  read,
  write,
  poll,
  pause: ms => {
    // poll(2) passes over a negative descriptor and waits for its timeout.
    poll(-1, 0, ms)
  },
  readText: path => {
    try {
      return readFileSync(path, 'utf8').trim()
    } catch {
      return undefined
    }
  },
  watch: (fd, onReadable) => new Poller(fd, onReadable),
}
