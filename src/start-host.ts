import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ModuleName } from './abi/modules.ts'
import { XenError } from './base/errors.ts'
import { connect } from './connect.ts'
import type { Connection } from './connection.ts'
import {
  type DomainStatus,
  giveOrder,
  type HostStatus,
  hostEnvironment,
  isAbsence,
  type Order,
  spawnHost,
} from './host/index.ts'
import type { DomainLimits } from './kernel/limits.ts'
import type { ProfileName } from './kernel/profiles.ts'

export type { DomainLimits, DomainStatus, HostStatus, ModuleName, ProfileName }

/** A domain to be made; what is left out is as the machine has it. */
export interface DomainOptions {
  /** Left out: the next number. */
  readonly domid?: number
  /** Default `pv`. */
  readonly kind?: 'pv' | 'hvm'
  readonly kernel?: ProfileName
  /** By name: `{ 'gntalloc.limit': 8 }`. */
  readonly limits?: Partial<DomainLimits>
  /** Those that its kernel has loaded; default all three. */
  readonly modules?: readonly ModuleName[]
}

/** What the machine is like; everything may be left out. */
export interface StartHostOptions {
  /** Which kernel its domains run: default the newest. */
  readonly kernel?: ProfileName
  /** Pages that a domain may grant at a time; default 1024. */
  readonly gntallocLimit?: number
  /** Pages that one map call may name; default 65536. */
  readonly gntdevLimit?: number
  /** `manual`: the drivers' timers stand still until `advance()`. Default `real`. */
  readonly clock?: 'real' | 'manual'
  /** Any limits of its domains by name, as `interdom ls` shows them: `{ maxFiles: 16 }`. */
  readonly limits?: Partial<DomainLimits>
  /** Directory of its sockets, at most some 90 bytes long; default a new one that goes with it. */
  readonly directory?: string
}

/**
 * Starts a simulated machine of your own, as a process beside this one, and resolves once domains
 * can connect. It ends with `close()`, with `await using`, or with this process, even by SIGKILL,
 * and leaves nothing behind.
 */
export async function startHost(options: StartHostOptions = {}): Promise<HostMachine> {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'interdom-'))
  const limits: Record<string, number> = { ...options.limits }
  if (options.gntallocLimit !== undefined) limits['gntalloc.limit'] = options.gntallocLimit
  if (options.gntdevLimit !== undefined) limits['gntdev.limit'] = options.gntdevLimit
  const child = await spawnHost({
    directory,
    limits,
    ...(options.kernel === undefined ? {} : { kernel: options.kernel }),
    ...(options.clock === undefined ? {} : { clock: options.clock }),
    isTemporary: options.directory === undefined,
  })
  return new HostMachine(directory, child)
}

/** A host that this process started. */
export class HostMachine {
  /** Where its sockets are: `INTERDOM_HOST` for a program that is to find it. */
  readonly directory: string
  readonly #child: ChildProcess
  readonly #connections = new Set<Connection>()
  #closing: Promise<void> | undefined

  /** Use `startHost()`. */
  constructor(directory: string, child: ChildProcess) {
    this.directory = directory
    this.#child = child
  }

  /** Process id of the host. */
  get pid(): number {
    return this.#child.pid as number
  }

  /** A connection of this process as domain `domid`, which is made on first use. */
  async connect({ domid }: { domid: number }): Promise<Connection> {
    const connection = await connect({ platform: 'host', host: this.directory, domid })
    this.#connections.add(connection)
    return connection
  }

  /** The environment of a child that is to be a process of domain `domid`. */
  env(
    domid: number,
    base: Readonly<Record<string, string | undefined>> = process.env,
  ): Record<string, string | undefined> {
    return hostEnvironment(this.directory, domid, base)
  }

  /** Makes a domain that stays without a process, and resolves to its number. */
  async createDomain(options: DomainOptions = {}): Promise<number> {
    return this.#order({ order: 'domain', ...options, stays: true }) as number
  }

  /** Destroys a domain: no byte is cleared and no event sent, as when Xen does it. */
  async destroy(domid: number): Promise<void> {
    this.#order({ order: 'destroy', domid })
  }

  /** Domains, their processes and limits. */
  async status(): Promise<HostStatus> {
    return this.#order({ order: 'status' }) as HostStatus
  }

  /** Changes a limit of a domain while it runs, such as `'gntalloc.limit'`. */
  async setLimit(domid: number, limit: string, value: number): Promise<void> {
    this.#order({ order: 'set', domid, limit, value })
  }

  /** Loads a module into the kernel of a domain, as modprobe does: one that is there stays. */
  async loadModule(domid: number, module: ModuleName): Promise<void> {
    this.#order({ order: 'load', domid, module })
  }

  /**
   * Takes a module out of the kernel of a domain, as rmmod does: its device is ENOENT from then on.
   * Rejects with a XenError EBUSY while a descriptor or a mapping of the device uses it.
   */
  async unloadModule(domid: number, module: ModuleName): Promise<void> {
    this.#order({ order: 'unload', domid, module })
  }

  /** Moves the drivers' timers on; only with `clock: 'manual'`. */
  async advance(ms: number): Promise<void> {
    this.#order({ order: 'advance', ms })
  }

  /** What is still granted, mapped or bound in any domain, a sentence each. */
  async leftovers(): Promise<string[]> {
    // What this process's own connections have queued goes out with this turn of the event loop.
    await nextTurn()
    return this.#order({ order: 'leftovers' }) as string[]
  }

  /** Throws an Error that lists what is still granted, mapped or bound: the last line of a test. */
  async assertEmpty(): Promise<void> {
    const left = await this.leftovers()
    if (left.length > 0) throw new Error(`the host is not empty:\n  ${left.join('\n  ')}`)
  }

  /** Closes this process's connections and ends the host. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    for (const connection of this.#connections) connection.close()
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.ref()
    const exited = once(this.#child, 'exit')
    try {
      this.#order({ order: 'stop' })
    } catch (error) {
      // Killed by somebody else meanwhile: it is as closed as it will ever be.
      if (!(error instanceof XenError) || !isGone(error)) throw error
    }
    await exited
  }

  #order(order: Order): unknown {
    return giveOrder(this.directory, order)
  }
}

function isGone(error: XenError): boolean {
  return isAbsence(error.errno) || error.code === 'EHOSTDOWN'
}
