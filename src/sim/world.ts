import { ERRNO } from '../abi/errno.ts'
import { type ModuleName, moduleNamed } from '../abi/modules.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { ManualClock } from '../base/clock.ts'
import { XenError } from '../base/errors.ts'
import { type Random, seededRandom } from '../base/random.ts'
import type { Domain } from '../kernel/domain.ts'
import type { DomainLimits } from '../kernel/limits.ts'
import { type DomainOptions, Machine } from '../kernel/machine.ts'
import { type KernelProfile, PROFILES, type ProfileName } from '../kernel/profiles.ts'
import type { LimitName } from '../platform.ts'
import { WorldMemory } from './world-memory.ts'
import { WorldPages } from './world-pages.ts'
import { WorldProcess, type WorldProcessHome } from './world-process.ts'

/** Process ids of a world begin somewhere in the lower half of Linux' 32768. */
const PID_FIRST = 300
const PID_SPREAD = 16384
/** Linux moves the top of the mmap area down by up to 2^28 pages. */
const MMAP_TOP = 0x7fff_f7ff_f000
const MMAP_SPREAD = 2 ** 28

/** What the world is like; everything may be left out. */
export interface WorldOptions {
  /** Decides process ids and addresses; the same seed, the same run. Default 1. */
  readonly seed?: number
  /** The kernel that domains have unless they say otherwise: by name, or one of your own. */
  readonly kernel?: ProfileName | KernelProfile
  readonly limits?: Partial<DomainLimits>
}

/** What a domain of a world is like; read at its first use. */
export interface WorldDomainOptions {
  readonly kind?: 'pv' | 'hvm'
  readonly kernel?: ProfileName | KernelProfile
  readonly limits?: Partial<DomainLimits>
}

/** A machine inside of this process, stepped by hand. */
export class World {
  readonly clock: ManualClock = new ManualClock()
  readonly machine: Machine
  readonly #options: WorldOptions
  readonly #random: Random
  readonly #pages = new WorldPages()
  readonly #domains = new Map<number, WorldDomain>()
  readonly #limits: Partial<DomainLimits>
  #nextPid: number

  constructor(options: WorldOptions = {}) {
    this.#options = options
    this.#limits = { ...options.limits }
    this.#random = seededRandom(options.seed ?? 1)
    this.#nextPid = PID_FIRST + (this.#random() % PID_SPREAD)
    this.machine = new Machine({ pages: this.#pages, clock: this.clock })
  }

  /** The domain of that id; made on first use, with these options. */
  domain(domid: number, options: WorldDomainOptions = {}): WorldDomain {
    const known = this.#domains.get(domid)
    if (known && !known.isDestroyed) return known
    const { kind, kernel = this.#options.kernel, limits } = options
    const made: DomainOptions = {
      domid,
      limits: { ...this.#limits, ...limits },
      ...(kind && { kind }),
      ...(kernel && { profile: typeof kernel === 'string' ? PROFILES[kernel] : kernel }),
    }
    const domain = new WorldDomain(this, this.machine.createDomain(made))
    this.#domains.set(domid, domain)
    return domain
  }

  /** A limit of the domains to come. */
  getLimit(name: LimitName): number {
    const any = [...this.machine.domains()].find(domain => !domain.isDying)
    return this.#limits[name] ?? any?.limits[name] ?? this.domain(1).limits[name]
  }

  /** Sets a limit of every domain, those to come included. */
  setLimit(name: LimitName, pages: number): void {
    this.#limits[name] = pages
    for (const domain of this.machine.domains()) domain.limits[name] = pages
  }

  /** Throws unless everything that was granted, mapped or bound has been given back. */
  assertEmpty(): void {
    const left = this.machine.leftovers()
    if (left.length > 0) throw new Error(`the world is not empty:\n  ${left.join('\n  ')}`)
  }

  /** Ends every process, as its exit would, and gives the memory back. Idempotent. */
  close(): void {
    for (const domain of this.#domains.values()) domain.exit()
    this.#pages.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** A process with the next id, and its own place for mappings. */
  spawn(domain: Domain, home: Omit<WorldProcessHome, 'pages' | 'nextPid'>): WorldProcess {
    const base = MMAP_TOP - (this.#random() % MMAP_SPREAD) * PAGE_SIZE
    const kernel = domain.createProcess({ pid: this.#nextPid++ })
    const memory = new WorldMemory(kernel, this.#pages, base)
    return new WorldProcess(kernel, memory, {
      ...home,
      pages: this.#pages,
      nextPid: () => this.#nextPid++,
    })
  }
}

/** A domain of a world. */
export class WorldDomain {
  readonly domid: number
  readonly #world: World
  readonly #domain: Domain
  readonly #processes = new Set<WorldProcess>()

  constructor(world: World, domain: Domain) {
    this.#world = world
    this.#domain = domain
    this.domid = domain.domid
  }

  get kind(): 'pv' | 'hvm' {
    return this.#domain.kind
  }

  /** May be changed at any time. */
  get limits(): DomainLimits {
    return this.#domain.limits
  }

  /** Loads a module of its kernel, as modprobe does: one that is there stays. */
  loadModule(module: ModuleName): void {
    this.#domain.modules.load(moduleNamed(module))
  }

  /**
   * Takes a module out of its kernel, as rmmod does: its device is ENOENT from then on.
   *
   * @throws XenError EBUSY while a descriptor or a mapping of the device uses it.
   */
  unloadModule(module: ModuleName): void {
    const trouble = this.#domain.modules.unload(moduleNamed(module))
    if (trouble !== undefined) throw new XenError(-ERRNO.EBUSY, 'unload', { fix: trouble })
  }

  get isDestroyed(): boolean {
    return this.#domain.isDying
  }

  /** A new process of the domain. */
  process(): WorldProcess {
    return this.#world.spawn(this.#domain, {
      begun: process => this.#processes.add(process),
      ended: process => this.#processes.delete(process),
    })
  }

  /** As `xl destroy`: no byte is cleared and no event sent; a zombie while its pages are mapped. */
  destroy(): void {
    this.#world.machine.destroyDomain(this.domid)
    for (const process of [...this.#processes]) process.halt()
  }

  /** Every process exits. */
  exit(): void {
    for (const process of [...this.#processes]) process.close()
  }
}
