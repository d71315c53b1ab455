/** The platform of a child puppet on a host, named by the environment as for any program. */
import { HostPlatform } from '../host/index.ts'
import type { Platform } from '../platform.ts'

export function platform(): Platform {
  const { INTERDOM_HOST: directory, INTERDOM_DOMID: domid } = process.env
  if (!directory || !domid) throw new Error('INTERDOM_HOST and INTERDOM_DOMID must be set')
  return new HostPlatform({ directory, domid: Number(domid) })
}
