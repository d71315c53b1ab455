import type { DeviceName } from '../abi/devices.ts'
import { isRealDomid } from '../abi/domid.ts'
import { MODULE_NAMES, type ModuleName } from '../abi/modules.ts'
import type { Clock } from '../base/clock.ts'
import { Hypervisor } from '../hypervisor/hypervisor.ts'
import type { HypervisorLimits } from '../hypervisor/limits.ts'
import type { PageStore } from '../hypervisor/page-store.ts'
import type { Access } from '../platform.ts'
import { Domain } from './domain.ts'
import type { EventQueue } from './event-queue.ts'
import { EvtchnFile } from './evtchn.ts'
import { GntallocFile } from './gntalloc.ts'
import { GntdevFile } from './gntdev.ts'
import { type DomainLimits, defaultLimits } from './limits.ts'
import type { OpenFile } from './open-file.ts'
import type { Process } from './process.ts'
import { DEFAULT_PROFILE, type KernelProfile, PROFILES } from './profiles.ts'

export type { Domain, DomainLimits, EvtchnFile, Process }

const FIRST_GUEST = 1

export interface MachineOptions {
  readonly pages: PageStore
  readonly clock: Clock
  /** The receiving half of each evtchn descriptor; by default it lives in this process. */
  readonly eventQueue?: (file: EvtchnFile) => EventQueue
  /** Defaults of the domains to come. */
  readonly hypervisorLimits?: Partial<HypervisorLimits>
}

export interface DomainOptions {
  /** Default: the one after the last; a number is not used again before they wrap. */
  readonly domid?: number
  readonly kind?: 'pv' | 'hvm'
  readonly profile?: KernelProfile
  readonly limits?: Partial<DomainLimits>
  /** Those that its kernel has loaded; default all. */
  readonly modules?: readonly ModuleName[]
}

/** One simulated machine: the hypervisor, and the kernel of each domain. */
export class Machine {
  readonly hypervisor: Hypervisor
  readonly #options: MachineOptions
  readonly #domains = new Map<number, Domain>()
  #lastDomid = FIRST_GUEST - 1
  #files = 0

  constructor(options: MachineOptions) {
    this.#options = options
    this.hypervisor = new Hypervisor(options.pages)
  }

  createDomain(options: DomainOptions = {}): Domain {
    const domid = options.domid ?? this.#nextDomid()
    if (!isRealDomid(domid)) throw new RangeError(`no domain can have the id ${domid}`)
    if (this.hypervisor.domain(domid)) throw new Error(`domain ${domid} exists already`)
    this.#lastDomid = Math.max(this.#lastDomid, domid)
    const { profile = PROFILES[DEFAULT_PROFILE] } = options
    const domain = new Domain(this, this.hypervisor, this.#options.clock, {
      domid,
      kind: options.kind ?? 'pv',
      profile,
      limits: {
        ...defaultLimits(domid, profile),
        ...this.#options.hypervisorLimits,
        ...options.limits,
      },
      modules: options.modules ?? MODULE_NAMES,
    })
    this.#domains.set(domid, domain)
    return domain
  }

  /** A domain, living or a zombie. */
  domain(domid: number): Domain | undefined {
    const domain = this.#domains.get(domid)
    if (!domain || this.hypervisor.domain(domid) === domain.xen) return domain
    this.#domains.delete(domid)
    return undefined
  }

  *domains(): Generator<Domain> {
    for (const domid of [...this.#domains.keys()]) {
      const domain = this.domain(domid)
      if (domain) yield domain
    }
  }

  /**
   * Destroys a domain as Xen does, without asking its kernel: no byte is cleared and no event
   * sent; the ports of its peers go unbound; it is a zombie while others map its pages.
   */
  destroyDomain(domid: number): void {
    const domain = this.domain(domid)
    if (domain && !domain.isDying) domain.halt()
  }

  /** What is still granted, mapped or bound anywhere; empty when all was given back. */
  leftovers(): string[] {
    return [...this.domains()].flatMap(domain => [...domain.leftovers()])
  }

  /** The driver's part of open(2). */
  openFile(
    opener: Process,
    device: DeviceName,
    options: { access: Access; nonblock: boolean },
  ): OpenFile {
    const id = ++this.#files
    switch (device) {
      case 'gntalloc':
        return new GntallocFile(opener, id, options)
      case 'gntdev':
        return new GntdevFile(opener, id, options)
      case 'evtchn':
        return new EvtchnFile(opener, id, options, this.#options.eventQueue)
    }
  }

  /** The number after the highest ever used, and the lowest free one once they are used up. */
  #nextDomid(): number {
    let domid = this.#lastDomid + 1
    if (isRealDomid(domid)) return domid
    domid = FIRST_GUEST
    while (this.hypervisor.domain(domid)) domid++
    return domid
  }
}
