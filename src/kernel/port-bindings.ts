import { FIFO_PORTS_PER_PAGE } from '../abi/event-channel.ts'
import { DenseMap } from '../base/dense-map.ts'
import { closeChannel, sendEvent } from '../hypervisor/channel-calls.ts'
import type { Hypervisor } from '../hypervisor/hypervisor.ts'
import type { XenDomain } from '../hypervisor/xen-domain.ts'
import type { EventQueue, PortEnd } from './event-queue.ts'

/** evtchn_get refuses beyond this many references to one port. */
const REFERENCES_MAX = 32767

interface Binding {
  /** Undefined once the descriptor let the port go while a notification holds it. */
  end: PortEnd | undefined
  /** 0 for a port of the kernel's own: not counted, and never handed to a notification. */
  references: number
  /** Made by somebody else: never closed by this kernel (BIND_STATIC). */
  readonly isStatic: boolean
}

/**
 * The ports that the kernel of a domain has bound, and how many hold each: the descriptor that
 * bound it and every notification that would send on it. A port stays open in Xen until the last
 * of them lets go (section 2.6; cases 81, 82, 235). Source: drivers/xen/events/events_base.c.
 */
export class PortBindings {
  readonly #xen: Hypervisor
  readonly #domain: XenDomain
  readonly #bindings = new DenseMap<Binding>()
  #highest = 0

  constructor(xen: Hypervisor, domain: XenDomain) {
    this.#xen = xen
    this.#domain = domain
  }

  /**
   * The current maximum of port numbers: the FIFO event array grows by a page as ports do, and
   * never shrinks (section 4, UNBIND).
   */
  get bound(): number {
    return (Math.floor(this.#highest / FIFO_PORTS_PER_PAGE) + 1) * FIFO_PORTS_PER_PAGE
  }

  has(port: number): boolean {
    return this.#bindings.get(port) !== undefined
  }

  /** A port that the kernel bound for itself at boot. */
  bindForKernel(port: number): void {
    this.#add(port, { end: undefined, references: 0, isStatic: false })
  }

  bind(port: number, end: PortEnd, isStatic: boolean): void {
    this.#add(port, { end, references: 1, isStatic })
  }

  /** The descriptor lets the port go: nobody reads it any more. */
  unbind(port: number): void {
    const binding = this.#bindings.get(port)
    if (!binding) return
    binding.end?.unbound()
    binding.end = undefined
    this.put(port)
  }

  /** One more holder (evtchn_get); false where the drivers answer -EINVAL. */
  get(port: number): boolean {
    const binding = this.#bindings.get(port)
    if (!binding || binding.references === 0 || binding.references >= REFERENCES_MAX) return false
    binding.references++
    return true
  }

  /** One holder less (evtchn_put); the port closes with the last. */
  put(port: number): void {
    const binding = this.#bindings.get(port)
    if (!binding) return
    binding.references--
    if (binding.references > 0) return
    this.#bindings.delete(port)
    if (!binding.isStatic) closeChannel(this.#xen, this.#domain, port)
  }

  /** The domain is destroyed: whoever reads its ports lets them go, and Xen closes them itself. */
  abandon(): void {
    for (const { end } of this.#bindings.values()) end?.unbound()
    this.#bindings.clear()
  }

  /** Sends on a port of this domain, whatever becomes of it (notify_remote_via_evtchn). */
  send(port: number): void {
    sendEvent(this.#xen, this.#domain, port)
  }

  /** The end of a port that some descriptor reads. */
  end(port: number): PortEnd | undefined {
    return this.#bindings.get(port)?.end
  }

  /** The ports that a queue reads, in ascending order. */
  readBy(queue: EventQueue): number[] {
    const ports: number[] = []
    for (const [port, { end }] of this.#bindings.entries())
      if (end?.queue === queue) ports.push(port)
    return ports
  }

  /** Ports that some descriptor or notification holds. */
  *held(): Generator<{ port: number; isRead: boolean }> {
    for (const [port, { references, end }] of this.#bindings.entries()) {
      if (references > 0) yield { port, isRead: end !== undefined }
    }
  }

  #add(port: number, binding: Binding): void {
    this.#bindings.set(port, binding)
    this.#highest = Math.max(this.#highest, port)
  }
}
