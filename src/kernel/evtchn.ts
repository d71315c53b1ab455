import type { DeviceName } from '../abi/devices.ts'
import { DOMID_FIRST_RESERVED } from '../abi/domid.ts'
import { ERRNO } from '../abi/errno.ts'
import { FIFO_PORTS_MAX } from '../abi/event-channel.ts'
import * as abi from '../abi/evtchn.ts'
import {
  allocUnbound,
  bindInterdomain,
  bindVirq,
  closeChannel,
} from '../hypervisor/channel-calls.ts'
import type { Address, Readiness, Result } from '../platform.ts'
import type { EventQueue, PortPeer } from './event-queue.ts'
import type { EventRing } from './event-ring.ts'
import { limitFacts } from './limits.ts'
import { LocalEventQueue } from './local-event-queue.ts'
import { OpenFile } from './open-file.ts'
import type { Process } from './process.ts'
import type { UserMemory } from './user-memory.ts'

const DOMID_MASK = 0xffff

/** An open /dev/xen/evtchn. Source: drivers/xen/evtchn.c; section 4. */
export class EvtchnFile extends OpenFile {
  readonly device: DeviceName = 'evtchn'
  readonly #queue: EventQueue
  #restrictedTo: number | undefined

  constructor(
    opener: Process,
    id: number,
    options: ConstructorParameters<typeof OpenFile>[2],
    eventQueue: ((file: EvtchnFile) => EventQueue) | undefined,
  ) {
    super(opener, id, options)
    this.#queue = eventQueue?.(this) ?? new LocalEventQueue(this.domain.profile)
  }

  get domid(): number {
    return this.domain.domid
  }

  override get isMappable(): boolean {
    return false
  }

  override onWake(listener: () => void): (() => void) | undefined {
    return this.#localQueue?.onWake(listener)
  }

  override ioctl(number: number, argument: Address, memory: UserMemory): Result {
    switch (number) {
      case abi.EVTCHN_BIND_VIRQ:
        return this.#bindVirq(argument, memory)
      case abi.EVTCHN_BIND_INTERDOMAIN:
        return this.#bindInterdomain(argument, memory)
      case abi.EVTCHN_BIND_UNBOUND_PORT:
        return this.#bindUnbound(argument, memory)
      case abi.EVTCHN_UNBIND:
        return this.#unbind(argument, memory)
      case abi.EVTCHN_NOTIFY:
        return this.#notify(argument, memory)
      case abi.EVTCHN_RESET:
        this.#ring?.reset()
        return 0
      case abi.EVTCHN_RESTRICT_DOMID:
        return this.#restrict(argument, memory)
      case abi.EVTCHN_BIND_STATIC:
        return this.#bindStatic(argument, memory)
      default:
        return -ERRNO.ENOSYS
    }
  }

  override read(into: Uint8Array): Result {
    if (!this.canRead) return -ERRNO.EBADF
    return this.#ring?.read(into) ?? -ERRNO.EINVAL
  }

  override write(from: Uint8Array): Result {
    if (!this.canWrite) return -ERRNO.EBADF
    return this.#ring?.write(from) ?? -ERRNO.EINVAL
  }

  /** An overflow hides all else (case 217). */
  override poll(): Readiness {
    if (this.#ring?.hasOverflowed) return { in: false, out: false, err: true }
    return { in: this.#ring?.isReadable ?? false, out: true, err: false }
  }

  override release(): void {
    const { ports } = this.domain
    for (const port of ports.readBy(this.#queue)) ports.unbind(port)
  }

  /** The queue, when it lives in this process. */
  get #localQueue(): LocalEventQueue | undefined {
    return this.#queue instanceof LocalEventQueue ? this.#queue : undefined
  }

  get #ring(): EventRing | undefined {
    return this.#localQueue?.ring
  }

  /** The one u32 that most calls take, or undefined for -EFAULT. */
  #word(argument: Address, memory: UserMemory): number | undefined {
    const bytes = memory.read(argument, 4)
    return bytes && abi.decodeU32(bytes)
  }

  #bindVirq(argument: Address, memory: UserMemory): Result {
    // Before the argument is looked at (case 213).
    if (this.#restrictedTo !== undefined) return this.#refuseRestricted()
    const virq = this.#word(argument, memory)
    if (virq === undefined) return -ERRNO.EFAULT
    const port = bindVirq(this.domain.xen, virq)
    if (port < 0) return this.#refuseBind(port)
    return this.#takeIn(port, { kind: 'virq', virq })
  }

  #bindInterdomain(argument: Address, memory: UserMemory): Result {
    const bytes = memory.read(argument, 8)
    if (!bytes) return -ERRNO.EFAULT
    const { remoteDomid, remotePort } = abi.decodeBindInterdomain(bytes)
    if (this.#restrictedTo !== undefined && this.#restrictedTo !== remoteDomid) {
      return this.#refuseRestricted()
    }
    const { hypervisor, xen } = this.domain
    const port = bindInterdomain(hypervisor, xen, remoteDomid & DOMID_MASK, remotePort)
    if (port < 0) return this.#refuseBind(port, remoteDomid & DOMID_MASK, remotePort)
    const domid = xen.channels.peerDomid(port)
    const taken = this.#takeIn(port, { kind: 'interdomain', domid, port: remotePort })
    if (taken < 0) return taken
    hypervisor.domain(domid)?.guest.connected(remotePort, this.domid, port)
    // Xen marks the binding side pending: its first event comes without a NOTIFY (case 187).
    this.domain.ports.end(port)?.raise()
    return port
  }

  #bindUnbound(argument: Address, memory: UserMemory): Result {
    // Even for the permitted domain (case 211).
    if (this.#restrictedTo !== undefined) return this.#refuseRestricted()
    const remote = this.#word(argument, memory)
    if (remote === undefined) return -ERRNO.EFAULT
    const port = allocUnbound(this.domain.xen, remote & DOMID_MASK)
    if (port < 0) return this.#refuseBind(port)
    return this.#takeIn(port, { kind: 'unbound', domid: this.domain.xen.channels.peerDomid(port) })
  }

  #unbind(argument: Address, memory: UserMemory): Result {
    const port = this.#word(argument, memory)
    if (port === undefined) return -ERRNO.EFAULT
    if (port >= this.domain.ports.bound) return -ERRNO.EINVAL
    if (!this.#has(port)) return this.refuse(ERRNO.ENOTCONN, { port })
    this.domain.ports.unbind(port)
    return 0
  }

  #notify(argument: Address, memory: UserMemory): Result {
    const port = this.#word(argument, memory)
    if (port === undefined) return -ERRNO.EFAULT
    if (!this.#has(port)) return this.refuse(ERRNO.ENOTCONN, { port })
    this.domain.ports.send(port)
    return 0
  }

  #restrict(argument: Address, memory: UserMemory): Result {
    if (!this.domain.profile.hasRestrictDomid) return -ERRNO.ENOSYS
    if (this.#restrictedTo !== undefined) return this.#refuseRestricted()
    const bytes = memory.read(argument, 2)
    if (!bytes) return -ERRNO.EFAULT
    const domid = abi.decodeRestrictDomid(bytes)
    if (domid === 0 || domid >= DOMID_FIRST_RESERVED) return -ERRNO.EINVAL
    this.#restrictedTo = domid
    return 0
  }

  #bindStatic(argument: Address, memory: UserMemory): Result {
    if (!this.domain.profile.hasBindStatic) return -ERRNO.ENOSYS
    const port = this.#word(argument, memory)
    if (port === undefined) return -ERRNO.EFAULT
    if (this.#has(port)) return this.refuse(ERRNO.EISCONN, { port })
    // Beyond what the FIFO ABI can name there is no interrupt for it (bind_evtchn_to_irq_chip).
    if (port >= FIFO_PORTS_MAX) return this.refuse(ERRNO.ENOMEM, { port })
    // The port itself is not verified, yet a second handler of one interrupt is not shared:
    // request_irq refuses it. Not seen on real Xen.
    if (this.domain.ports.has(port)) return this.refuse(ERRNO.EBUSY, { port })
    return Math.min(0, this.#takeIn(port, { kind: 'static' }))
  }

  /** The port, or -ENOMEM: then it is closed again, as by a kernel without a free interrupt. */
  #takeIn(port: number, peer: PortPeer): Result {
    const end = this.#queue.bound(port, peer)
    if (!('queue' in end)) {
      const { hypervisor, xen } = this.domain
      if (peer.kind !== 'static') closeChannel(hypervisor, xen, port)
      return this.refuse(ERRNO.ENOMEM, end)
    }
    this.domain.ports.bind(port, end, peer.kind === 'static')
    return port
  }

  /** Whether this descriptor has bound the port. */
  #has(port: number): boolean {
    return this.domain.ports.end(port)?.queue === this.#queue
  }

  #refuseRestricted(): Result {
    return this.refuse(ERRNO.EACCES, {
      ...(this.#restrictedTo === undefined ? {} : { domid: this.#restrictedTo }),
      fix: 'this descriptor was restricted to one domain; open another',
    })
  }

  #refuseBind(result: Result, domid?: number, port?: number): Result {
    if (result === -ERRNO.ENOSPC) {
      const used = this.domain.xen.channels.used
      return this.refuse(ERRNO.ENOSPC, limitFacts(this.domain, 'maxEventChannels', used, 1))
    }
    return this.refuse(-result, {
      ...(domid === undefined ? {} : { domid }),
      ...(port === undefined ? {} : { port }),
    })
  }
}
