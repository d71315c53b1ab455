import type { DeviceName } from '../abi/devices.ts'
import { ClosedError, type ErrorFacts, XenError } from '../base/errors.ts'
import type { Process } from '../kernel/process.ts'
import type { UserMemory } from '../kernel/user-memory.ts'
import type { Address, Capability, Device, OpenOptions, Platform, Result } from '../platform.ts'
import { WorldDevice } from './world-device.ts'
import type { WorldMemory } from './world-memory.ts'
import type { WorldPages } from './world-pages.ts'
import { WorldUserMemory } from './world-user-memory.ts'

/** What a process of a world can show, of the closed list of the seam. */
const CAPABILITIES: readonly Capability[] = [
  'fork',
  'signal',
  'fault',
  'remap',
  'two-domains',
  'destructive',
]

/** What a process has of its domain. */
export interface WorldProcessHome {
  readonly pages: WorldPages
  nextPid(): number
  /** There is a process more, and one less. */
  begun(process: WorldProcess): void
  ended(process: WorldProcess): void
}

/** A process of a world: a platform that can be killed. */
export class WorldProcess implements Platform {
  readonly name = 'sim'
  readonly pid: number
  readonly domid: number
  readonly kind: 'pv' | 'hvm'
  readonly capabilities: ReadonlySet<Capability>
  readonly memory: WorldMemory
  /** The process as its simulated kernel sees it. */
  readonly kernel: Process
  readonly #home: WorldProcessHome
  readonly #devices = new Map<number, WorldDevice>()
  #end: string | undefined

  constructor(kernel: Process, memory: WorldMemory, home: WorldProcessHome) {
    this.kernel = kernel
    this.memory = memory
    this.#home = home
    this.pid = kernel.pid
    this.domid = kernel.domain.domid
    this.kind = kernel.domain.kind
    this.capabilities = new Set(CAPABILITIES)
    home.begun(this)
  }

  open(device: DeviceName, options: OpenOptions): Device | Result {
    this.assertAlive()
    const fd = this.kernel.open(device, options)
    return fd < 0 ? fd : this.adopt(new WorldDevice(this, device, fd))
  }

  /** Its devices, by the numbers of their descriptors. */
  get devices(): ReadonlyMap<number, Device> {
    return this.#devices
  }

  /**
   * fork(2): a child with the same descriptors, and with the mappings that its kernel lets it
   * inherit at the same addresses. Throws a XenError when the domain has no room for them.
   */
  fork(): WorldProcess {
    this.assertAlive()
    const kernel = this.kernel.fork(this.#home.nextPid())
    if (typeof kernel === 'number') throw new XenError(kernel, 'fork', this.explain() ?? {})
    const child = new WorldProcess(kernel, this.memory.fork(kernel), this.#home)
    for (const { name, fd } of this.#devices.values()) child.adopt(new WorldDevice(child, name, fd))
    return child
  }

  /** What is known about the last refusal of open. */
  explain(): ErrorFacts | undefined {
    return this.kernel.explain()
  }

  /** SIGKILL: its kernel releases what it had, and every later call throws ClosedError. */
  kill(): void {
    this.#finish('was killed')
  }

  /** Exit, which its kernel does not tell from being killed. */
  close(): void {
    this.#finish('has exited')
  }

  /** Its domain was destroyed: the memory goes, and no kernel releases anything. */
  halt(): void {
    this.#finish('went with its domain')
  }

  /** Throws a ClosedError once the process is gone. */
  assertAlive(): void {
    if (this.#end !== undefined) {
      throw new ClosedError(`process ${this.pid} of domain ${this.domid} ${this.#end} and`)
    }
  }

  adopt(device: WorldDevice): WorldDevice {
    this.#devices.set(device.fd, device)
    return device
  }

  release(device: WorldDevice): void {
    this.#devices.delete(device.fd)
  }

  /** The memory that a driver reaches during one call; `argument` lies at ARGUMENT_ADDRESS. */
  userMemory(argument?: Uint8Array): UserMemory {
    const anonymous = (address: Address, length: number) => this.memory.view(address, length)
    return new WorldUserMemory(this.kernel, this.#home.pages, anonymous, argument)
  }

  #finish(end: string): void {
    if (this.#end !== undefined) return
    this.#end = end
    // Before the kernel's part: freed pages are handed out again, and no view may still reach them.
    this.memory.close()
    this.kernel.kill()
    for (const device of [...this.#devices.values()]) device.end()
    this.#home.ended(this)
  }
}
