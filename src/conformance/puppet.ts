import type { DeviceName } from '../abi/devices.ts'
import type { Address, MmapOptions, OpenOptions, Readiness, Result } from '../platform.ts'
import type { Fault, Reply, Request, SystemCall } from './puppet-protocol.ts'

/** What ioctl answered, and its argument as the driver left it. */
export interface IoctlAnswer {
  result: Result
  bytes: Uint8Array
}

/**
 * A process that performs calls of the seam on command. Refusals are answers (`-errno`), as at the
 * seam; it throws when the case has a bug or the puppet is dead.
 *
 * Descriptors are named by their number, memory by its address.
 */
export abstract class Puppet {
  abstract readonly pid: number

  /** Performs one request. */
  abstract call(request: Request): Promise<Reply>

  /** Ends the process as SIGKILL does; resolves once everything that it held is released. */
  abstract kill(): Promise<void>

  /** Lets the process exit with everything open; resolves as {@link kill} does. */
  abstract exit(): Promise<void>

  async open(device: DeviceName, options: OpenOptions): Promise<Result> {
    return (await this.call({ op: 'open', device, ...options })).result
  }

  async ioctl(fd: number, number: number, bytes?: Uint8Array): Promise<IoctlAnswer> {
    const reply = await this.call({ op: 'ioctl', fd, number, ...(bytes && { bytes }) })
    return { result: reply.result, bytes: reply.bytes ?? new Uint8Array() }
  }

  /** ioctl with a plain user address, which may be one where nothing is. */
  async ioctlAt(fd: number, number: number, address: Address): Promise<Result> {
    return (await this.call({ op: 'ioctl', fd, number, address })).result
  }

  async mmap(fd: number, options: MmapOptions): Promise<Address | Result> {
    return (await this.call({ op: 'mmap', fd, ...options })).result
  }

  async read(fd: number, length: number): Promise<IoctlAnswer> {
    const reply = await this.call({ op: 'read', fd, length })
    return { result: reply.result, bytes: reply.bytes ?? new Uint8Array() }
  }

  async write(fd: number, bytes: Uint8Array): Promise<Result> {
    return (await this.call({ op: 'write', fd, bytes })).result
  }

  async poll(fd: number): Promise<Readiness> {
    const { readiness } = await this.call({ op: 'poll', fd })
    if (!readiness) throw new Error('the puppet answered poll without readiness')
    return readiness
  }

  /** 0 once `poll` would report `in` or `err`, or -ETIMEDOUT. */
  async ready(fd: number, timeoutMs: number): Promise<Result> {
    return (await this.call({ op: 'ready', fd, timeoutMs })).result
  }

  async dup(fd: number): Promise<Result> {
    return (await this.call({ op: 'dup', fd })).result
  }

  async close(fd: number): Promise<void> {
    await this.call({ op: 'close', fd })
  }

  async alloc(length: number, at?: Address): Promise<Address | Result> {
    return (await this.call({ op: 'alloc', length, ...(at !== undefined && { at }) })).result
  }

  async munmap(address: Address, length: number): Promise<Result> {
    return (await this.call({ op: 'munmap', address, length })).result
  }

  async protect(address: Address, length: number, prot: number): Promise<Result> {
    return (await this.call({ op: 'protect', address, length, prot })).result
  }

  async peek(address: Address, length: number): Promise<Uint8Array> {
    const { bytes, signal } = await this.call({ op: 'peek', address, length })
    if (signal) throw new Error(`${signal} at ${address}, where something was to be read`)
    return bytes ?? new Uint8Array()
  }

  async poke(address: Address, bytes: Uint8Array): Promise<void> {
    const { signal } = await this.call({ op: 'poke', address, bytes })
    if (signal) throw new Error(`${signal} at ${address}, where something was to be stored`)
  }

  /** The byte at an address, or the signal that loading it ends in; needs `fault`. */
  async load(address: Address): Promise<number | Fault> {
    const { bytes, signal } = await this.call({ op: 'peek', address, length: 1 })
    return signal ?? bytes?.[0] ?? Number.NaN
  }

  /** What storing a byte ends in; needs `fault`. */
  async store(address: Address, byte: number): Promise<'stored' | Fault> {
    const bytes = Uint8Array.of(byte)
    return (await this.call({ op: 'poke', address, bytes })).signal ?? 'stored'
  }

  /** A system call beyond the seam; needs `remap` or `signal`. */
  async syscall(name: SystemCall, ...args: readonly number[]): Promise<Result> {
    return (await this.call({ op: 'syscall', name, args })).result
  }

  /** How many SIGIO came since this was last asked; needs `signal`. */
  async signals(): Promise<number> {
    return (await this.call({ op: 'signals' })).result
  }

  /** Has each SIGIO look at a byte; needs `signal`. */
  async watch(address: Address): Promise<void> {
    await this.call({ op: 'watch', address })
  }

  /** What the last SIGIO saw where it was told to look. */
  async seen(): Promise<number> {
    return (await this.call({ op: 'signals' })).bytes?.[0] ?? Number.NaN
  }

  /** A child, a puppet too, that has what this one has now; needs `fork`. */
  fork(): Promise<Puppet> {
    throw new Error('this puppet cannot fork')
  }

  /** Unmaps and closes everything, so that the puppet serves the next case. */
  async reset(): Promise<void> {
    await this.call({ op: 'reset' })
  }
}
