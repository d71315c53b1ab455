import { argumentSize, type DeviceName, fixedArgumentSize, ioctlName } from '../abi/devices.ts'
import { ERRNO } from '../abi/errno.ts'
import { ClosedError, type ErrorFacts, XenError } from '../base/errors.ts'
import { Waiters } from '../base/waiters.ts'
import type { Ranges } from '../memory/ranges.ts'
import { readSelf } from '../memory/self.ts'
import type { Address, Device, MmapOptions, Readiness, Result } from '../platform.ts'
import { MMAP_RETRY_MS, MMAP_TRIES } from './limits.ts'
import type { MmapGuard } from './mmap-guard.ts'
import { POLLERR, POLLHUP, POLLIN, POLLOUT, type System, type Watch } from './system.ts'

/** What a device needs of its platform. */
export interface DeviceContext {
  readonly system: System
  readonly memory: Pick<Ranges, 'map'>
  readonly guard: MmapGuard | undefined
  /** Told of a second descriptor, which the platform then owns too. */
  adopt(device: LinuxDevice): void
  release(device: LinuxDevice): void
}

/** One descriptor of a real /dev/xen/*: the calls, and nothing that the kernel does by itself. */
export class LinuxDevice implements Device {
  readonly name: DeviceName
  readonly fd: number
  readonly #context: DeviceContext
  readonly #watch: Watch
  readonly #waiters: Waiters
  #refusal: ErrorFacts | undefined
  #isClosed = false

  constructor(name: DeviceName, fd: number, context: DeviceContext) {
    this.name = name
    this.fd = fd
    this.#context = context
    this.#watch = context.system.watch(fd, () => this.#look())
    this.#waiters = new Waiters(isWaiting => {
      if (!isWaiting) this.#watch.disarm()
    })
  }

  ioctl(number: number, argument: Uint8Array | Address = 0): Result {
    this.#start()
    const { system } = this.#context
    if (typeof argument === 'number') {
      const result = system.ioctl(this.fd, number, argument)
      if (result >= 0) this.#noteAt(number, argument)
      return result
    }
    const bytes = argument.slice()
    const size = argumentSize(this.name, number, bytes)
    if (bytes.byteLength < size)
      throw new RangeError(
        `${ioctlName(this.name, number)} takes ${size} bytes, got ${bytes.byteLength}`,
      )
    const result = system.ioctl(this.fd, number, bytes)
    const touched = bytes.subarray(0, size)
    argument.set(touched)
    if (result >= 0) this.#note(number, touched)
    return result
  }

  mmap(options: MmapOptions): Address | Result {
    this.#start()
    const { system, memory, guard } = this.#context
    const { offset, length, prot, flags, at } = options
    this.#refusal = guard?.check(offset, length)
    if (this.#refusal) return -ERRNO.EINVAL
    for (let tries = 1; ; tries++) {
      const result = memory.map({ fd: this.fd, offset, length }, { prot, flags, at })
      if (result !== -ERRNO.EAGAIN || tries === MMAP_TRIES) return result
      system.pause(MMAP_RETRY_MS)
    }
  }

  read(into: Uint8Array): Result {
    this.#start()
    return this.#context.system.read(this.fd, into)
  }

  write(from: Uint8Array): Result {
    this.#start()
    return this.#context.system.write(this.fd, from)
  }

  poll(): Readiness {
    this.#start()
    const events = this.#context.system.poll(this.fd, POLLIN | POLLOUT, 0)
    if (events < 0) throw new XenError(events, `poll ${this.name}`)
    return {
      in: (events & POLLIN) !== 0,
      out: (events & POLLOUT) !== 0,
      err: (events & (POLLERR | POLLHUP)) !== 0,
    }
  }

  async ready(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    const now = this.poll()
    if (now.in || now.err) return
    const result = this.#watch.arm()
    if (result < 0) throw new XenError(result, `epoll ${this.name}`)
    await this.#waiters.wait(signal)
  }

  ref(): void {
    this.#watch.ref()
  }

  unref(): void {
    this.#watch.unref()
  }

  dup(): Device | Result {
    this.#start()
    const fd = this.#context.system.dup(this.fd)
    if (fd < 0) return fd
    const copy = new LinuxDevice(this.name, fd, this.#context)
    this.#context.adopt(copy)
    return copy
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    // Before the descriptor: its number may be another's in the same turn.
    this.#watch.close()
    this.#context.system.close(this.fd)
    this.#context.release(this)
    this.#waiters.fail(new ClosedError(this.#what))
  }

  explain(): ErrorFacts | undefined {
    return this.#refusal
  }

  get #what(): string {
    return `${this.name} (descriptor ${this.fd})`
  }

  /** The first line of every call. */
  #start(): void {
    if (this.#isClosed) throw new ClosedError(this.#what)
    this.#refusal = undefined
  }

  #note(number: number, argument: Uint8Array): void {
    const { guard } = this.#context
    if (guard?.calls.has(number)) guard.note(number, argument)
  }

  /** A struct that the program keeps at an address, read back once the driver has filled it in. */
  #noteAt(number: number, address: Address): void {
    if (!this.#context.guard?.calls.has(number)) return
    const fixed = readSelf(address, fixedArgumentSize(this.name, number))
    const whole = fixed && readSelf(address, argumentSize(this.name, number, fixed))
    if (whole) this.#note(number, whole)
  }

  #look(): void {
    if (this.#isClosed || !this.#waiters.isWaiting) return
    const now = this.poll()
    if (now.in || now.err) this.#waiters.wake()
    else this.#watch.arm()
  }
}
