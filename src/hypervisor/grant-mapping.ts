import {
  GNTMAP_APPLICATION_MAP,
  GNTMAP_CONTAINS_PTE,
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GNTST,
} from '../abi/grant-table.ts'
import type { Hypervisor } from './hypervisor.ts'
import type { XenDomain } from './xen-domain.ts'

/** Flags that only a domain with page tables of its own may use. */
const PV_ONLY = GNTMAP_DEVICE_MAP | GNTMAP_APPLICATION_MAP | GNTMAP_CONTAINS_PTE

/**
 * GNTTABOP_map_grant_ref for one page: the handle, or a negative GNTST. The checks are in Xen's
 * order, since the first that fails names the status (map_grant_ref; section 5.3).
 */
export function mapGrant(
  xen: Hypervisor,
  mapper: XenDomain,
  domid: number,
  ref: number,
  flags: number,
): number {
  if ((flags & (GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP)) === 0) return GNTST.bad_gntref
  if (mapper.kind === 'hvm' && (flags & PV_ONLY) !== 0) return GNTST.general_error
  // Real ids only: DOMID_SELF names nobody here (case 129).
  const granter = xen.domain(domid)
  if (!granter) return GNTST.bad_domain
  const writable = (flags & GNTMAP_READONLY) === 0
  const handle = mapper.maptrack.take(domid, ref, writable)
  if (handle < 0) return GNTST.no_space
  const status = pinGrant(granter, mapper.domid, ref, writable)
  if (status === GNTST.okay) return handle
  mapper.maptrack.put(handle)
  return status
}

function pinGrant(granter: XenDomain, mapper: number, ref: number, writable: boolean): number {
  const { grants } = granter
  if (ref >= grants.size) return GNTST.bad_gntref
  if (!grants.admits(ref, mapper, writable)) return GNTST.general_error
  // A zombie's pages can be had only while somebody keeps them (case 320).
  if (granter.isDying && grants.pins(ref) === 0) return GNTST.bad_domain
  grants.pin(ref, mapper, writable)
  return GNTST.okay
}

/** GNTTABOP_unmap_grant_ref. */
export function unmapGrant(xen: Hypervisor, mapper: XenDomain, handle: number): number {
  const { maptrack } = mapper
  if (!maptrack.has(handle)) return GNTST.bad_handle
  // The granter is there: its pinned pages keep it, as a zombie if need be.
  const granter = xen.domain(maptrack.domid(handle))
  const ref = maptrack.ref(handle)
  const writable = maptrack.isWritable(handle)
  maptrack.put(handle)
  if (!granter) return GNTST.bad_domain
  granter.grants.unpin(ref, writable)
  xen.unpinned(granter, ref)
  return GNTST.okay
}
