import { channel } from 'node:diagnostics_channel'
import { ioctlName } from '../abi/devices.ts'
import { DOMID_SELF } from '../abi/domid.ts'
import {
  EVTCHN_BIND_INTERDOMAIN,
  EVTCHN_BIND_UNBOUND_PORT,
  EVTCHN_BIND_VIRQ,
  EVTCHN_RESTRICT_DOMID,
  encodeBindInterdomain,
  encodeRestrictDomid,
  encodeU32,
} from '../abi/evtchn.ts'
import { integerBetween } from '../base/arguments.ts'
import type { ErrorFacts } from '../base/errors.ts'
import type { Owner } from '../base/owner.ts'
import { callDevice } from '../device-call.ts'
import type { Device } from '../platform.ts'
import { Dispatcher } from './dispatcher.ts'
import { Port } from './port.ts'
import { PortState } from './port-state.ts'

const bindChannel = channel('interdom:evtchn:bind')

const U32_MAX = 2 ** 32 - 1

/**
 * The event channels of one connection: `xen.evtchn`. All its ports share one descriptor of
 * /dev/xen/evtchn, opened when the first is bound.
 */
export class EventChannels {
  readonly #owner: Owner
  readonly #open: () => Device
  #opened: Dispatcher | undefined

  constructor(owner: Owner, open: () => Device) {
    this.#owner = owner
    this.#open = open
  }

  /**
   * A new port that domain `to` may bind to with {@link bindInterdomain}. The domain need not
   * exist yet. `DOMID_SELF` is this domain.
   *
   * @throws XenError ENOSPC when the domain has no free port, EACCES after {@link restrict}.
   */
  bindUnbound({ to }: { readonly to: number }): Port {
    integerBetween('to', to, 0, DOMID_SELF)
    return this.#bind(EVTCHN_BIND_UNBOUND_PORT, encodeU32(to), { domid: to })
  }

  /**
   * A new port, connected to `port` of domain `domid`, which that domain has bound unbound for us.
   * It is pending at once.
   *
   * @throws XenError ESRCH without such a domain, EINVAL when its port is not there for us, ENOSPC,
   * EACCES after {@link restrict} to another domain.
   */
  bindInterdomain({ domid, port }: { readonly domid: number; readonly port: number }): Port {
    integerBetween('domid', domid, 0, DOMID_SELF)
    integerBetween('port', port, 0, U32_MAX)
    return this.#bind(EVTCHN_BIND_INTERDOMAIN, encodeBindInterdomain(domid, port), { domid, port })
  }

  /**
   * A new port that gets a virtual interrupt of vCPU 0.
   *
   * @throws XenError EINVAL without such an interrupt, EEXIST when it is bound, EBUSY, EACCES.
   */
  bindVirq(virq: number): Port {
    integerBetween('virq', virq, 0, U32_MAX)
    return this.#bind(EVTCHN_BIND_VIRQ, encodeU32(virq), {})
  }

  /** Forgets every event that was not taken yet, and re-arms every port of this connection. */
  reset(): void {
    this.#dispatcher().reset()
  }

  /**
   * From now on this connection can bind to ports of domain `domid` only, and to nothing else; the
   * ports that it has go on. Cannot be undone.
   *
   * @throws XenError EACCES when it is restricted already, EINVAL for domain 0.
   */
  restrict(domid: number): void {
    integerBetween('domid', domid, 0, DOMID_SELF - 1)
    callDevice(this.#dispatcher().device, EVTCHN_RESTRICT_DOMID, encodeRestrictDomid(domid), {
      domid,
    })
  }

  #dispatcher(): Dispatcher {
    this.#owner.assertOpen()
    this.#opened ??= new Dispatcher(this.#open())
    return this.#opened
  }

  #bind(call: number, argument: Uint8Array, facts: ErrorFacts): Port {
    const dispatcher = this.#dispatcher()
    const port = callDevice(dispatcher.device, call, argument, facts)
    const state = new PortState(port, dispatcher, this.#owner)
    dispatcher.add(state)
    this.#owner.adopt(state)
    if (bindChannel.hasSubscribers) {
      const { domid, port: remotePort } = facts
      bindChannel.publish({ call: ioctlName('evtchn', call), port, domid, remotePort })
    }
    return new Port(state, dispatcher)
  }
}
