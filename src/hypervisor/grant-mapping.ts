import {
  GNTMAP_APPLICATION_MAP,
  GNTMAP_CONTAINS_PTE,
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GNTST,
} from '../abi/grant-table.ts'
import type { MapRun } from './grant-table.ts'
import type { Hypervisor } from './hypervisor.ts'
import type { XenDomain } from './xen-domain.ts'

/** In place of a handle or a frame. */
const NONE = -1

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

/**
 * The same for a run of pages, as long as each would be mapped: the page after the last that is.
 * Why the next one is not, {@link mapGrant} tells.
 */
export function mapRun(xen: Hypervisor, mapper: XenDomain, run: MapRun): number {
  const { elements, first, writable, times, pages } = run
  const granter = xen.domain(run.domid)
  if (!granter || granter.isDying) return first
  const { grants } = granter
  const pinned = grants.pinRun(run, mapper.domid)
  const end = mapper.maptrack.takeRun(run, pinned)
  for (let page = end; page < pinned; page++) {
    grants.unpin(elements[2 * page + 1] as number, writable, times)
  }
  pages.fill(NONE, end * (times + 1), pinned * (times + 1))
  return end
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
  return mapper.maptrack.has(handle) ? unpin(xen, mapper, handle, 1) : GNTST.bad_handle
}

/** The same for all handles of a run of pages, as far as they have any: how many pages that are. */
export function unmapRun(xen: Hypervisor, mapper: XenDomain, run: MapRun): number {
  const { first, end, times, pages } = run
  const granter = xen.domain(run.domid)
  let unmapped = 0
  if (granter && !granter.isDying) {
    granter.grants.unpinRun(run)
    unmapped = mapper.maptrack.putRun(run)
  } else {
    // Each page of a zombie that is let go may be its last.
    for (let page = first; page < end; page++) {
      const at = page * (times + 1)
      if ((pages[at] as number) < 0) continue
      unpin(xen, mapper, pages[at] as number, times)
      if (times === 2) mapper.maptrack.put(pages[at + 1] as number)
      unmapped++
    }
  }
  pages.fill(NONE, first * (times + 1), end * (times + 1))
  return unmapped
}

/** Gives a handle up, and so many pins of its grant. */
function unpin(xen: Hypervisor, mapper: XenDomain, handle: number, times: number): number {
  const { maptrack } = mapper
  // The granter is there: its pinned pages keep it, as a zombie if need be.
  const granter = xen.domain(maptrack.domid(handle))
  const ref = maptrack.ref(handle)
  const writable = maptrack.isWritable(handle)
  maptrack.put(handle)
  if (!granter) return GNTST.bad_domain
  granter.grants.unpin(ref, writable, times)
  xen.unpinned(granter, ref)
  return GNTST.okay
}
