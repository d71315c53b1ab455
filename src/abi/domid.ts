/**
 * Domain ids. Source: Xen public/xen.h. Real domains are below {@link DOMID_FIRST_RESERVED}.
 */
export const DOMID_FIRST_RESERVED = 0x7ff0
/** The calling domain itself; only event channels and grant copy accept it. */
export const DOMID_SELF = 0x7ff0
export const DOMID_IO = 0x7ff1
export const DOMID_XEN = 0x7ff2
export const DOMID_COW = 0x7ff3
export const DOMID_INVALID = 0x7ff4
export const DOMID_ANY = 0x7ff5
export const DOMID_IDLE = 0x7fff

/** True for ids that a domain can have. */
export function isRealDomid(domid: number): boolean {
  return Number.isInteger(domid) && domid >= 0 && domid < DOMID_FIRST_RESERVED
}
