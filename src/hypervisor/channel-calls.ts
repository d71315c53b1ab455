import { DOMID_SELF } from '../abi/domid.ts'
import { ERRNO } from '../abi/errno.ts'
import { EVTCHNSTAT, NR_VIRQS } from '../abi/event-channel.ts'
import type { Hypervisor } from './hypervisor.ts'
import type { XenDomain } from './xen-domain.ts'

/**
 * EVTCHNOP_alloc_unbound: a port that waits for `remoteDomid`, which need not exist (case 205).
 * Like all calls here, answers a port or 0, or `-errno`. Source: Xen common/event_channel.c.
 */
export function allocUnbound(domain: XenDomain, remoteDomid: number): number {
  const { channels } = domain
  if (!channels.hasFree) return -ERRNO.ENOSPC
  const port = channels.open()
  channels.setUnbound(port, remoteDomid === DOMID_SELF ? domain.domid : remoteDomid)
  return port
}

/**
 * EVTCHNOP_bind_interdomain. The binding side is marked pending by Xen; raising that first event
 * is left to the caller, whose driver must know the port before (case 187).
 */
export function bindInterdomain(
  xen: Hypervisor,
  domain: XenDomain,
  remoteDomid: number,
  remotePort: number,
): number {
  const remote = remoteDomid === DOMID_SELF ? domain : xen.domain(remoteDomid)
  if (!remote) return -ERRNO.ESRCH
  if (!domain.channels.hasFree) return -ERRNO.ENOSPC
  const { channels } = remote
  const waitsForUs =
    channels.state(remotePort) === EVTCHNSTAT.unbound &&
    channels.peerDomid(remotePort) === domain.domid
  if (!waitsForUs) return -ERRNO.EINVAL
  const port = domain.channels.open()
  domain.channels.setInterdomain(port, remote.domid, remotePort)
  channels.setInterdomain(remotePort, domain.domid, port)
  return port
}

/** EVTCHNOP_bind_virq on vCPU 0. */
export function bindVirq(domain: XenDomain, virq: number): number {
  const { channels } = domain
  if (virq >= NR_VIRQS) return -ERRNO.EINVAL
  if (channels.portOfVirq(virq) !== 0) return -ERRNO.EEXIST
  if (!channels.hasFree) return -ERRNO.ENOSPC
  const port = channels.open()
  channels.setVirq(port, virq)
  return port
}

/** EVTCHNOP_close: the other end waits for this domain again, and gets no event (case 200). */
export function closeChannel(xen: Hypervisor, domain: XenDomain, port: number): number {
  const { channels } = domain
  const state = channels.state(port)
  if (state === EVTCHNSTAT.closed) return -ERRNO.EINVAL
  const peerDomid = channels.peerDomid(port)
  const peerPort = channels.peerPort(port)
  channels.free(port)
  if (state !== EVTCHNSTAT.interdomain) return 0
  const peer = xen.domain(peerDomid)
  if (!peer) return 0
  peer.channels.setUnbound(peerPort, domain.domid)
  peer.guest.disconnected(peerPort)
  return 0
}

/** EVTCHNOP_send: dropped without an error when nobody is bound to the other end (case 199). */
export function sendEvent(xen: Hypervisor, domain: XenDomain, port: number): number {
  const { channels } = domain
  const state = channels.state(port)
  if (state === EVTCHNSTAT.unbound) return 0
  if (state !== EVTCHNSTAT.interdomain) return -ERRNO.EINVAL
  xen.domain(channels.peerDomid(port))?.guest.raised(channels.peerPort(port))
  return 0
}
