/** The platform of a child puppet in a Xen domain. */
import { linux } from '../linux/linux.ts'
import type { Platform } from '../platform.ts'

export function platform(): Platform {
  const { INTERDOM_DOMID: domid } = process.env
  return linux(domid ? { domid: Number(domid) } : {})
}
