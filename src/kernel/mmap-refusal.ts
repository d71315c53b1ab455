import { ERRNO } from '../abi/errno.ts'
import { MAP_PRIVATE, MAP_SHARED, MAP_TYPE, PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Result } from '../platform.ts'

/** What of an open file the kernel core asks. */
export interface MappableFile {
  readonly canRead: boolean
  readonly canWrite: boolean
  readonly isMappable: boolean
}

/**
 * The checks of mmap(2) that the kernel core makes for any file, in its order (section 1.5;
 * do_mmap): 0, or the refusal. `hasRoom` says whether the process may have one mapping more. Up to
 * here nothing has happened; once the driver is asked, what lay at a place that was named is
 * unmapped, and stays so when the driver refuses (case 331).
 */
export function mmapRefusal(
  request: { address: number; offset: number; length: number; prot: number; flags: number },
  file: MappableFile,
  hasRoom = true,
): Result {
  const { address, offset, length, prot, flags } = request
  if (offset % PAGE_SIZE !== 0 || address % PAGE_SIZE !== 0) return -ERRNO.EINVAL
  if (!(length > 0)) return -ERRNO.EINVAL
  if (!hasRoom) return -ERRNO.ENOMEM
  const type = flags & MAP_TYPE
  if (type !== MAP_SHARED && type !== MAP_PRIVATE) return -ERRNO.EINVAL
  const isWritable = (prot & PROT_WRITE) !== 0
  if (type === MAP_SHARED && isWritable && !file.canWrite) return -ERRNO.EACCES
  if (!file.canRead) return -ERRNO.EACCES
  return file.isMappable ? 0 : -ERRNO.ENODEV
}
