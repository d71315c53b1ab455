import * as evtchn from './evtchn.ts'
import * as gntalloc from './gntalloc.ts'
import * as gntdev from './gntdev.ts'

/** The device files, without `/dev/xen/`. */
export const DEVICE_NAMES = ['gntalloc', 'gntdev', 'evtchn'] as const
/** `'gntalloc'`, `'gntdev'` or `'evtchn'`. */
export type DeviceName = (typeof DEVICE_NAMES)[number]

interface IoctlEntry {
  readonly name: string
  readonly number: number
  /** Bytes that the driver reads before it looks at anything else. */
  readonly fixed: number
  /** Bytes that it may touch in all, once the fixed part is known. */
  readonly whole?: (fixedPart: Uint8Array) => number
}

const notify = { number: gntalloc.GNTALLOC_SET_UNMAP_NOTIFY, fixed: gntalloc.UNMAP_NOTIFY_SIZE }
const countAt = (offset: number) => (bytes: Uint8Array) => evtchn.decodeU32(bytes, offset)

const TABLE: Record<DeviceName, readonly IoctlEntry[]> = {
  gntalloc: [
    {
      name: 'GNTALLOC_ALLOC_GREF',
      number: gntalloc.GNTALLOC_ALLOC_GREF,
      fixed: gntalloc.ALLOC_GREF_SIZE,
      whole: bytes => gntalloc.allocGrefSize(countAt(4)(bytes)),
    },
    {
      name: 'GNTALLOC_DEALLOC_GREF',
      number: gntalloc.GNTALLOC_DEALLOC_GREF,
      fixed: gntalloc.DEALLOC_GREF_SIZE,
    },
    { name: 'GNTALLOC_SET_UNMAP_NOTIFY', ...notify },
  ],
  gntdev: [
    {
      name: 'GNTDEV_MAP_GRANT_REF',
      number: gntdev.GNTDEV_MAP_GRANT_REF,
      fixed: gntdev.MAP_GRANT_REF_SIZE,
      whole: bytes => gntdev.mapGrantRefSize(countAt(0)(bytes)),
    },
    {
      name: 'GNTDEV_UNMAP_GRANT_REF',
      number: gntdev.GNTDEV_UNMAP_GRANT_REF,
      fixed: gntdev.UNMAP_GRANT_REF_SIZE,
    },
    {
      name: 'GNTDEV_GET_OFFSET_FOR_VADDR',
      number: gntdev.GNTDEV_GET_OFFSET_FOR_VADDR,
      fixed: gntdev.OFFSET_FOR_VADDR_SIZE,
    },
    { name: 'GNTDEV_SET_MAX_GRANTS', number: gntdev.GNTDEV_SET_MAX_GRANTS, fixed: 4 },
    { name: 'GNTDEV_SET_UNMAP_NOTIFY', ...notify },
    {
      name: 'GNTDEV_GRANT_COPY',
      number: gntdev.GNTDEV_GRANT_COPY,
      fixed: gntdev.GRANT_COPY_SIZE,
    },
    {
      name: 'GNTDEV_DMABUF_EXP_FROM_REFS',
      number: gntdev.GNTDEV_DMABUF_EXP_FROM_REFS,
      fixed: 20,
      whole: bytes => Math.max(20, 16 + 4 * countAt(4)(bytes)),
    },
    {
      name: 'GNTDEV_DMABUF_EXP_WAIT_RELEASED',
      number: gntdev.GNTDEV_DMABUF_EXP_WAIT_RELEASED,
      fixed: 8,
    },
    {
      name: 'GNTDEV_DMABUF_IMP_TO_REFS',
      number: gntdev.GNTDEV_DMABUF_IMP_TO_REFS,
      fixed: 20,
      whole: bytes => Math.max(20, 16 + 4 * countAt(4)(bytes)),
    },
    { name: 'GNTDEV_DMABUF_IMP_RELEASE', number: gntdev.GNTDEV_DMABUF_IMP_RELEASE, fixed: 8 },
  ],
  evtchn: [
    { name: 'EVTCHN_BIND_VIRQ', number: evtchn.EVTCHN_BIND_VIRQ, fixed: 4 },
    { name: 'EVTCHN_BIND_INTERDOMAIN', number: evtchn.EVTCHN_BIND_INTERDOMAIN, fixed: 8 },
    { name: 'EVTCHN_BIND_UNBOUND_PORT', number: evtchn.EVTCHN_BIND_UNBOUND_PORT, fixed: 4 },
    { name: 'EVTCHN_UNBIND', number: evtchn.EVTCHN_UNBIND, fixed: 4 },
    { name: 'EVTCHN_NOTIFY', number: evtchn.EVTCHN_NOTIFY, fixed: 4 },
    { name: 'EVTCHN_RESET', number: evtchn.EVTCHN_RESET, fixed: 0 },
    { name: 'EVTCHN_RESTRICT_DOMID', number: evtchn.EVTCHN_RESTRICT_DOMID, fixed: 2 },
    { name: 'EVTCHN_BIND_STATIC', number: evtchn.EVTCHN_BIND_STATIC, fixed: 4 },
  ],
}

const tables: ReadonlyMap<DeviceName, ReadonlyMap<number, IoctlEntry>> = new Map(
  DEVICE_NAMES.map(device => [device, new Map(TABLE[device].map(e => [e.number, e]))]),
)

function entryOf(device: DeviceName, number: number): IoctlEntry | undefined {
  return tables.get(device)?.get(number)
}

/** `'GNTDEV_MAP_GRANT_REF'`, or the number in hexadecimal when the device has no such call. */
export function ioctlName(device: DeviceName, number: number): string {
  const entry = entryOf(device, number)
  return entry?.name ?? `0x${(number >>> 0).toString(16).padStart(8, '0')}`
}

/**
 * Bytes of the argument that the driver may read or write for this call: 0 for a call that the
 * device does not know, since it touches nothing then. The caller of ioctl(2) must own them all:
 * a kernel that copies out past a short buffer writes over a stranger's memory.
 */
export function argumentSize(device: DeviceName, number: number, argument: Uint8Array): number {
  const entry = entryOf(device, number)
  if (!entry) return 0
  if (!entry.whole || argument.byteLength < entry.fixed) return entry.fixed
  return entry.whole(argument)
}

/** Bytes that the driver copies in before it looks at any of them; 0 for an unknown call. */
export function fixedArgumentSize(device: DeviceName, number: number): number {
  return entryOf(device, number)?.fixed ?? 0
}

/** read(2) and write(2) on evtchn: whole ports, and no more than one page of them a call. */
export function portBytes(length: number): number {
  return Math.min(length - (length % evtchn.PORT_SIZE), evtchn.EVTCHN_IO_MAX)
}
