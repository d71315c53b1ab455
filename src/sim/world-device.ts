import { argumentSize, type DeviceName, ioctlName } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import { ClosedError, type ErrorFacts } from '../base/errors.ts'
import { Waiters } from '../base/waiters.ts'
import type { Address, Device, MmapOptions, Readiness, Result } from '../platform.ts'
import type { WorldProcess } from './world-process.ts'
import { ARGUMENT_ADDRESS } from './world-user-memory.ts'

/** One descriptor of a device of a world. */
export class WorldDevice implements Device {
  readonly name: DeviceName
  readonly fd: number
  readonly #owner: WorldProcess
  readonly #nonblock: boolean
  readonly #waiters = new Waiters()
  readonly #stopListening: () => void
  #isClosed = false

  constructor(owner: WorldProcess, name: DeviceName, fd: number) {
    this.#owner = owner
    this.name = name
    this.fd = fd
    const file = owner.kernel.file(fd)
    this.#nonblock = file?.nonblock ?? false
    this.#stopListening = file?.onWake(() => this.#waiters.wake()) ?? (() => undefined)
  }

  ioctl(number: number, argument?: Uint8Array | Address): Result {
    this.#assertOpen()
    const { kernel } = this.#owner
    if (!(argument instanceof Uint8Array)) {
      return kernel.ioctl(this.fd, number, argument ?? 0, this.#owner.userMemory())
    }
    const bytes = argument.slice()
    const needed = argumentSize(this.name, number, bytes)
    if (bytes.byteLength < needed) {
      const name = ioctlName(this.name, number)
      throw new RangeError(`${name} takes ${needed} bytes, got ${bytes.byteLength}`)
    }
    const result = kernel.ioctl(this.fd, number, ARGUMENT_ADDRESS, this.#owner.userMemory(bytes))
    argument.set(bytes)
    return result
  }

  mmap(options: MmapOptions): Address | Result {
    this.#assertOpen()
    return this.#owner.memory.map(this.fd, options)
  }

  read(into: Uint8Array): Result {
    this.#assertOpen()
    const result = this.#owner.kernel.read(this.fd, into)
    if (result === -ERRNO.EAGAIN && !this.#nonblock) {
      throw new Error(
        'read on an empty evtchn without nonblock would wait for ever: nothing else runs in a ' +
          'world while this process waits',
      )
    }
    return result
  }

  write(from: Uint8Array): Result {
    this.#assertOpen()
    return this.#owner.kernel.write(this.fd, from)
  }

  poll(): Readiness {
    this.#assertOpen()
    return this.#owner.kernel.poll(this.fd)
  }

  /** A world is driven by its own program: what waits here does not keep that alive. */
  async ready(signal?: AbortSignal): Promise<void> {
    this.#assertOpen()
    signal?.throwIfAborted()
    const now = this.poll()
    if (now.in || now.err) return
    await this.#waiters.wait(signal)
  }

  ref(): void {}

  unref(): void {}

  dup(): Device | Result {
    this.#assertOpen()
    const fd = this.#owner.kernel.dup(this.fd)
    return fd < 0 ? fd : this.#owner.adopt(new WorldDevice(this.#owner, this.name, fd))
  }

  close(): void {
    if (this.#isClosed) return
    this.#owner.kernel.close(this.fd)
    this.end()
  }

  /** The descriptor is gone, closed or with its process. */
  end(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#stopListening()
    this.#owner.release(this)
    this.#waiters.fail(new ClosedError(this.#what))
  }

  explain(): ErrorFacts | undefined {
    return this.#isClosed ? undefined : this.#owner.kernel.explain(this.fd)
  }

  get #what(): string {
    return `${this.name} descriptor ${this.fd}`
  }

  #assertOpen(): void {
    this.#owner.assertAlive()
    if (this.#isClosed) throw new ClosedError(this.#what)
  }
}
