import { VIRQ_DEBUG, VIRQ_TIMER } from '../abi/event-channel.ts'
import type { ModuleName } from '../abi/modules.ts'
import type { Clock } from '../base/clock.ts'
import { allocUnbound, bindVirq } from '../hypervisor/channel-calls.ts'
import type { Hypervisor } from '../hypervisor/hypervisor.ts'
import type { GuestPorts, XenDomain } from '../hypervisor/xen-domain.ts'
import { GntdevFile } from './gntdev.ts'
import { GrantRefs } from './grant-refs.ts'
import { Grefs } from './grefs.ts'
import type { DomainLimits, DomainUsage } from './limits.ts'
import type { Machine } from './machine.ts'
import { Modules } from './modules.ts'
import type { OpenFile } from './open-file.ts'
import { PortBindings } from './port-bindings.ts'
import { Process } from './process.ts'
import type { KernelProfile } from './profiles.ts'

export interface DomainFields {
  readonly domid: number
  readonly kind: 'pv' | 'hvm'
  readonly profile: KernelProfile
  readonly limits: DomainLimits
  /** Those that its kernel has loaded at first. */
  readonly modules: readonly ModuleName[]
}

/** A domain: its kernel with the three drivers, and the processes that run on it. */
export class Domain implements GuestPorts {
  readonly machine: Machine
  readonly domid: number
  readonly kind: 'pv' | 'hvm'
  readonly profile: KernelProfile
  /** May be changed at any time, as through /sys/module. */
  readonly limits: DomainLimits
  readonly usage: DomainUsage = { maps: 0, mapPages: 0, mappings: 0 }
  readonly modules: Modules
  readonly hypervisor: Hypervisor
  /** The domain as the hypervisor knows it. */
  readonly xen: XenDomain
  readonly ports: PortBindings
  readonly grantRefs: GrantRefs
  readonly grefs: Grefs
  readonly #processes = new Set<Process>()
  readonly #files = new Set<OpenFile>()

  constructor(machine: Machine, hypervisor: Hypervisor, clock: Clock, fields: DomainFields) {
    this.machine = machine
    this.hypervisor = hypervisor
    this.domid = fields.domid
    this.kind = fields.kind
    this.profile = fields.profile
    this.limits = fields.limits
    this.modules = new Modules(this, fields.modules)
    this.xen = hypervisor.createDomain(fields.domid, fields.kind, fields.limits, this)
    this.ports = new PortBindings(hypervisor, this.xen)
    this.grantRefs = new GrantRefs(hypervisor, this.xen, clock, this.profile)
    this.grefs = new Grefs(this)
    this.#bindBootPorts()
  }

  /** Destroyed; a zombie as long as others have its pages mapped. */
  get isDying(): boolean {
    return this.xen.isDying
  }

  get processes(): ReadonlySet<Process> {
    return this.#processes
  }

  /** Open files of all its processes. */
  get files(): ReadonlySet<OpenFile> {
    return this.#files
  }

  /** Whether others still map pages that its processes left. */
  get isMapped(): boolean {
    return this.grantRefs.deferred.some(ref => this.xen.grants.pins(ref) > 0)
  }

  /** With a parent it has what that has now, as after fork(2). */
  createProcess({ pid, parent }: { pid: number; parent?: Process }): Process {
    if (this.isDying) throw new Error(`domain ${this.domid} was destroyed`)
    const process = new Process(this, pid, parent)
    this.#processes.add(process)
    return process
  }

  raised(port: number): void {
    if (!this.isDying) this.ports.end(port)?.raise()
  }

  connected(port: number, peerDomid: number, peerPort: number): void {
    this.ports.end(port)?.connected(peerDomid, peerPort)
  }

  disconnected(port: number): void {
    if (!this.isDying) this.ports.end(port)?.disconnected()
  }

  fileOpened(file: OpenFile): void {
    this.#files.add(file)
  }

  fileReleased(file: OpenFile): void {
    this.#files.delete(file)
  }

  processGone(process: Process): void {
    this.#processes.delete(process)
  }

  /**
   * Its kernel never runs again: nothing is released, nothing fires (section 5.3). What reads its
   * ports is no part of the machine, and would be found by the next domain of its number.
   */
  halt(): void {
    for (const process of [...this.#processes]) process.halt()
    this.#processes.clear()
    this.#files.clear()
    this.ports.abandon()
    this.hypervisor.destroyDomain(this.xen)
  }

  /** What is still granted, mapped or bound, a sentence each. */
  *leftovers(): Generator<string> {
    const name = `domain ${this.domid}`
    if (this.isDying) {
      yield `${name}: destroyed, but ${this.xen.pinnedPages} of its pages are still mapped`
      return
    }
    for (const { ref, pid } of this.grefs.live()) {
      yield `${name}: ref ${ref} granted to ${this.xen.grants.grantee(ref)} by pid ${pid}`
    }
    for (const ref of this.grantRefs.deferred) {
      // Once nobody maps it, it is the kernel's to find.
      if (this.xen.grants.pins(ref) === 0) continue
      yield `${name}: ref ${ref} ended, but domain ${this.xen.grants.grantee(ref)} still maps it`
    }
    for (const file of this.#files) {
      if (!(file instanceof GntdevFile)) continue
      for (const { start, count } of file.maps) {
        yield `${name}: pid ${file.pid} holds ${count} pages at page index ${start} of gntdev`
      }
    }
    for (const handle of this.xen.maptrack.handles()) {
      const { maptrack } = this.xen
      yield `${name}: maps ref ${maptrack.ref(handle)} of domain ${maptrack.domid(handle)}`
    }
    for (const { port, isRead } of this.ports.held()) {
      yield isRead ? `${name}: port ${port} bound` : `${name}: port ${port} held by a notification`
    }
  }

  /** As a Linux guest has them: xenstore and console from the toolstack, and its own virqs. */
  #bindBootPorts(): void {
    const ports = [
      allocUnbound(this.xen, 0),
      allocUnbound(this.xen, 0),
      bindVirq(this.xen, VIRQ_TIMER),
      bindVirq(this.xen, VIRQ_DEBUG),
    ]
    for (const port of ports) if (port > 0) this.ports.bindForKernel(port)
  }
}
