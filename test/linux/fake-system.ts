import { ERRNO } from '../../src/abi/errno.ts'
import type { System, Watch } from '../../src/linux/system.ts'
import type { Address, Result } from '../../src/platform.ts'

/** Descriptors that this process does not have, so that its real mmap answers EBADF. */
export const FIRST_FD = 100_000

/** One call that the platform made. */
export type Call = readonly [name: string, ...details: unknown[]]

/** A machine without Xen that behaves as a test tells it to, and remembers what was asked. */
export class FakeSystem implements System {
  readonly calls: Call[] = []
  /** Answers of open; a path that is not here is given the next descriptor. */
  readonly refused = new Map<string, Result>()
  readonly texts = new Map<string, string>([
    ['/sys/hypervisor/type', 'xen'],
    ['/sys/hypervisor/guest_type', 'PV'],
  ])
  /** Plays the driver; may change the bytes. */
  driver: (number: number, argument: Uint8Array | Address) => Result = () => 0
  /** What poll reports. */
  events = 0
  /** What reads bring, one after the other, each as far as there is room. */
  incoming: number[] = []
  readonly watches = new Set<FakeWatch>()
  #next = FIRST_FD

  open(path: string, flags: number): Result {
    this.calls.push(['open', path, flags])
    return this.refused.get(path) ?? this.#next++
  }

  close(fd: number): Result {
    this.calls.push(['close', fd])
    return 0
  }

  dup(fd: number): Result {
    this.calls.push(['dup', fd])
    return this.#next++
  }

  ioctl(_fd: number, number: number, argument: Uint8Array | Address): Result {
    return this.driver(number, argument)
  }

  read(_fd: number, into: Uint8Array): Result {
    const bytes = this.incoming.splice(0, into.byteLength)
    into.set(bytes)
    return bytes.length > 0 ? bytes.length : -ERRNO.EAGAIN
  }

  write(_fd: number, from: Uint8Array): Result {
    this.calls.push(['write', [...from]])
    return from.byteLength
  }

  poll(_fd: number, events: number): Result {
    return this.events & (events | 0x18)
  }

  pause(ms: number): void {
    this.calls.push(['pause', ms])
  }

  readText(path: string): string | undefined {
    return this.texts.get(path)
  }

  watch(_fd: number, onReadable: () => void): Watch {
    return new FakeWatch(onReadable, this.watches)
  }

  /** Something happened: every armed watch calls, as the real one would. */
  wake(): void {
    for (const watch of [...this.watches]) watch.fire()
  }
}

class FakeWatch implements Watch {
  readonly #onReadable: () => void
  readonly #armed: Set<FakeWatch>

  constructor(onReadable: () => void, armed: Set<FakeWatch>) {
    this.#onReadable = onReadable
    this.#armed = armed
  }

  arm(): Result {
    this.#armed.add(this)
    return 0
  }

  disarm(): void {
    this.#armed.delete(this)
  }

  ref(): void {}

  unref(): void {}

  close(): void {
    this.#armed.delete(this)
  }

  fire(): void {
    this.disarm()
    this.#onReadable()
  }
}
