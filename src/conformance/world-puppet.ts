import { ERRNO } from '../abi/errno.ts'
import type { Platform } from '../platform.ts'
import type { WorldProcess } from '../sim/index.ts'
import { Agent } from './agent.ts'
import { Puppet } from './puppet.ts'
import type { Reply, Request } from './puppet-protocol.ts'
import { WorldCalls } from './world-calls.ts'

export interface WorldPuppetOptions {
  /** What the puppet gets instead of the process itself. */
  readonly wrap: (process: Platform) => Platform
  /** Told of each child. */
  readonly forked: (child: WorldProcess) => void
}

/**
 * A process of a world that can do what the puppet in C can (testbed/puppet.c). Its loads and
 * stores go by what its kernel says of the address, so that a fault is an answer.
 */
export class WorldPuppet extends Puppet {
  readonly pid: number
  readonly #process: WorldProcess
  readonly #agent: Agent
  readonly #calls: WorldCalls
  readonly #options: WorldPuppetOptions

  constructor(process: WorldProcess, options: WorldPuppetOptions) {
    super()
    this.pid = process.pid
    this.#process = process
    this.#agent = new Agent(options.wrap(process), process.devices.values())
    this.#calls = new WorldCalls(process)
    this.#options = options
  }

  override async call(request: Request): Promise<Reply> {
    const calls = this.#calls
    switch (request.op) {
      case 'peek':
        return this.#peek(request.address, request.length)
      case 'poke':
        return this.#poke(request.address, request.bytes)
      case 'read':
        if (!this.#waits(request.fd)) break
        // The timer's signal is what comes next: this process is the only one that runs.
        return { result: -ERRNO.EINTR }
      case 'syscall':
        return { result: calls.call(request.name, request.args) }
      case 'watch':
        calls.watch(request.address)
        return { result: 0 }
      case 'signals': {
        const { count, seen } = calls.takeSignals()
        return { result: count, ...(seen && { bytes: seen }) }
      }
      default:
    }
    return this.#agent.perform(request)
  }

  override async fork(): Promise<Puppet> {
    const child = this.#process.fork()
    this.#options.forked(child)
    return new WorldPuppet(child, this.#options)
  }

  override async kill(): Promise<void> {
    this.#process.kill()
  }

  override async exit(): Promise<void> {
    await this.call({ op: 'exit' })
  }

  #peek(address: number, length: number): Reply {
    const bytes = this.#process.userMemory().read(address, length)
    return bytes ? { result: 0, bytes } : this.#fault(address, length, 'load')
  }

  #poke(address: number, bytes: Uint8Array): Reply {
    const isStored = this.#process.userMemory().write(address, bytes)
    return isStored ? { result: 0 } : this.#fault(address, bytes.length, 'store')
  }

  /** The first fault of an access that ended in one. */
  #fault(address: number, length: number, access: 'load' | 'store'): Reply {
    const { kernel } = this.#process
    for (let at = address; at < address + length; at++) {
      const vma = kernel.vma(at)
      const signal = vma ? vma.fault(at, access) : 'SIGSEGV'
      if (signal) return { result: -ERRNO.EFAULT, signal }
    }
    throw new Error(`no fault in ${length} bytes at ${address}`)
  }

  /** Whether a read would wait, and a timer would end that. */
  #waits(fd: number): boolean {
    const file = this.#process.kernel.file(fd)
    if (!file || file.nonblock || !this.#calls.isTicking) return false
    const { in: readable, err } = file.poll()
    return !readable && !err
  }
}
