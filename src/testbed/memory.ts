import { statSync } from 'node:fs'
import { join } from 'node:path'

/** Sizes in bytes of what the domains hold in memory. */
export interface Sizes {
  kernel: number
  root: number
  payload: number
}

/** Megabytes of dom0 and of each guest. */
export interface Memory {
  dom0: number
  guest: number
}

const megabyte = 1024 * 1024
/** For the kernel and for what the commands want. */
const room = 64
/** dom0 runs Xen's daemons beside the commands. */
const daemons = 128
const step = 32

export function sizesOf(images: string, payload: string | undefined): Sizes {
  return {
    kernel: statSync(join(images, 'vmlinux')).size,
    root: statSync(join(images, 'root.cpio')).size,
    payload: payload === undefined ? 0 : statSync(payload).size,
  }
}

/**
 * A domain's files may fill half of its memory (the kernel's limit for its root file system), and
 * while it boots their archive lies beside them. dom0 also holds what its guests boot from.
 */
export function memoryFor(sizes: Sizes, guests: number): Memory {
  const [kernel, root, payload] = [sizes.kernel, sizes.root, sizes.payload].map(size =>
    Math.ceil(size / megabyte),
  ) as [number, number, number]
  const guest = rounded(3 * root + 2 * payload + room)
  return { guest, dom0: rounded(guest + daemons + (guests > 0 ? kernel + root + room : 0)) }
}

function rounded(megabytes: number): number {
  return Math.ceil(megabytes / step) * step
}
