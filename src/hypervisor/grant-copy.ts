import { DOMID_SELF } from '../abi/domid.ts'
import { GNTST } from '../abi/grant-table.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Hypervisor } from './hypervisor.ts'
import type { XenDomain } from './xen-domain.ts'

/** A place in a granted page. */
export interface GrantPlace {
  readonly domid: number
  readonly ref: number
  readonly offset: number
}

/** Bytes of one page of the caller, which the driver has pinned. */
export interface LocalPlace {
  /** The page is another domain's, mapped here: Xen refuses it by frame (case 271). */
  readonly isForeign: boolean
  read(length: number): Uint8Array
  write(bytes: Uint8Array): void
}

export type CopyPlace = GrantPlace | LocalPlace

/**
 * GNTTABOP_copy for one operation, inside of one page on either side: a GNTST. Both domains are
 * looked up before either buffer is claimed, the source first (gnttab_copy_one).
 */
export function copyGrant(
  xen: Hypervisor,
  caller: XenDomain,
  source: CopyPlace,
  dest: CopyPlace,
  length: number,
): number {
  const from = ownerOf(xen, caller, source)
  const to = ownerOf(xen, caller, dest)
  if (!from || !to) return GNTST.bad_domain
  const readable = claim(caller, from, source, false)
  if (readable !== GNTST.okay) return readable
  const writable = claim(caller, to, dest, true)
  if (writable !== GNTST.okay) return writable
  if (overruns(source, length) || overruns(dest, length)) return GNTST.bad_copy_arg
  store(xen, to, dest, load(xen, from, source, length))
  return GNTST.okay
}

function ownerOf(xen: Hypervisor, caller: XenDomain, place: CopyPlace): XenDomain | undefined {
  if (!('ref' in place) || place.domid === DOMID_SELF) return caller
  return xen.domain(place.domid)
}

/** acquire_grant_for_copy: the rules of a mapping, without keeping a pin. */
function claim(caller: XenDomain, owner: XenDomain, place: CopyPlace, writable: boolean): number {
  if (!('ref' in place)) return place.isForeign ? GNTST.bad_page : GNTST.okay
  const { grants } = owner
  if (place.ref >= grants.size) return GNTST.bad_gntref
  if (!grants.admits(place.ref, caller.domid, writable)) return GNTST.general_error
  if (owner.isDying && grants.pins(place.ref) === 0) return GNTST.bad_domain
  return GNTST.okay
}

function overruns(place: CopyPlace, length: number): boolean {
  return 'ref' in place && place.offset + length > PAGE_SIZE
}

function load(xen: Hypervisor, owner: XenDomain, place: CopyPlace, length: number): Uint8Array {
  if (!('ref' in place)) return place.read(length)
  return xen.pages.read(owner.grants.frame(place.ref), place.offset, length)
}

function store(xen: Hypervisor, owner: XenDomain, place: CopyPlace, bytes: Uint8Array): void {
  if (!('ref' in place)) place.write(bytes)
  else xen.pages.write(owner.grants.frame(place.ref), place.offset, bytes)
}
