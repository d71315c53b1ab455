import { expect, test } from 'vitest'
import { argumentSize, ioctlName } from '../../src/abi/devices.ts'
import * as domid from '../../src/abi/domid.ts'
import { ERRNO, errnoName, errnoText } from '../../src/abi/errno.ts'
import { EVTCHNSTAT } from '../../src/abi/event-channel.ts'
import * as evtchn from '../../src/abi/evtchn.ts'
import * as gntalloc from '../../src/abi/gntalloc.ts'
import * as gntdev from '../../src/abi/gntdev.ts'
import { GNTST, gntstName } from '../../src/abi/grant-table.ts'

/** As compiled from the uapi headers on x86-64 (section 1 of the interface). */
const NUMBERS = [
  [gntalloc.GNTALLOC_ALLOC_GREF, 0x00184705],
  [gntalloc.GNTALLOC_DEALLOC_GREF, 0x00104706],
  [gntalloc.GNTALLOC_SET_UNMAP_NOTIFY, 0x00104707],
  [gntdev.GNTDEV_MAP_GRANT_REF, 0x00184700],
  [gntdev.GNTDEV_UNMAP_GRANT_REF, 0x00104701],
  [gntdev.GNTDEV_GET_OFFSET_FOR_VADDR, 0x00184702],
  [gntdev.GNTDEV_SET_MAX_GRANTS, 0x00044703],
  [gntdev.GNTDEV_SET_UNMAP_NOTIFY, 0x00104707],
  [gntdev.GNTDEV_GRANT_COPY, 0x00104708],
  [gntdev.GNTDEV_DMABUF_EXP_FROM_REFS, 0x00144709],
  [gntdev.GNTDEV_DMABUF_EXP_WAIT_RELEASED, 0x0008470a],
  [gntdev.GNTDEV_DMABUF_IMP_TO_REFS, 0x0014470b],
  [gntdev.GNTDEV_DMABUF_IMP_RELEASE, 0x0008470c],
  [evtchn.EVTCHN_BIND_VIRQ, 0x00044500],
  [evtchn.EVTCHN_BIND_INTERDOMAIN, 0x00084501],
  [evtchn.EVTCHN_BIND_UNBOUND_PORT, 0x00044502],
  [evtchn.EVTCHN_UNBIND, 0x00044503],
  [evtchn.EVTCHN_NOTIFY, 0x00044504],
  [evtchn.EVTCHN_RESET, 0x00004505],
  [evtchn.EVTCHN_RESTRICT_DOMID, 0x00024506],
  [evtchn.EVTCHN_BIND_STATIC, 0x00044507],
] as const

test('every ioctl has the number of the kernel header', () => {
  expect(NUMBERS.map(([ours]) => ours)).toEqual(NUMBERS.map(([, theirs]) => theirs))
})

test('a call is named by its device, since gntalloc and gntdev share a number', () => {
  expect(ioctlName('gntalloc', 0x00104707)).toBe('GNTALLOC_SET_UNMAP_NOTIFY')
  expect(ioctlName('gntdev', 0x00104707)).toBe('GNTDEV_SET_UNMAP_NOTIFY')
  expect(ioctlName('evtchn', 0x4599)).toBe('0x00004599')
})

test('the size of an argument follows from its fixed part, and is 0 for an unknown call', () => {
  const sizes = [
    argumentSize('gntalloc', gntalloc.GNTALLOC_ALLOC_GREF, new Uint8Array(24)),
    argumentSize('gntalloc', gntalloc.GNTALLOC_ALLOC_GREF, gntalloc.encodeAllocGref(alloc(5))),
    argumentSize('gntdev', gntdev.GNTDEV_MAP_GRANT_REF, gntdev.encodeMapGrantRef(grants(1))),
    argumentSize('gntdev', gntdev.GNTDEV_MAP_GRANT_REF, gntdev.encodeMapGrantRef(grants(4))),
    argumentSize('evtchn', evtchn.EVTCHN_RESTRICT_DOMID, new Uint8Array(2)),
    argumentSize('evtchn', evtchn.EVTCHN_RESET, new Uint8Array(0)),
    argumentSize('gntdev', gntalloc.GNTALLOC_ALLOC_GREF, new Uint8Array(24)),
  ]
  expect(sizes).toEqual([24, 36, 24, 48, 2, 0, 0])
})

test('status codes, states and domids are those of the public headers', () => {
  expect(Object.values(GNTST)).toEqual([0, -1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12, -13])
  expect(gntstName(-3)).toBe('GNTST_bad_gntref')
  expect(EVTCHNSTAT).toEqual({ closed: 0, unbound: 1, interdomain: 2, pirq: 3, virq: 4, ipi: 5 })
  expect([
    domid.DOMID_SELF,
    domid.DOMID_IO,
    domid.DOMID_XEN,
    domid.DOMID_COW,
    domid.DOMID_INVALID,
    domid.DOMID_ANY,
    domid.DOMID_IDLE,
  ]).toEqual([0x7ff0, 0x7ff1, 0x7ff2, 0x7ff3, 0x7ff4, 0x7ff5, 0x7fff])
  expect([0x7fef, 0x7ff0, -1, 1.5].map(domid.isRealDomid)).toEqual([true, false, false, false])
})

test('an errno has its name and the words of strerror, whatever its sign', () => {
  expect([errnoName(-22), errnoName(22), errnoName(4711)]).toEqual(['EINVAL', 'EINVAL', 'E4711'])
  expect(errnoText(-ERRNO.ENOTTY)).toBe('Inappropriate ioctl for device')
  expect(errnoText(4711)).toBe('Unknown error 4711')
})

function alloc(count: number): gntalloc.AllocGref {
  return { domid: 1, flags: 0, count }
}

function grants(count: number): gntdev.GrantName[] {
  return Array.from({ length: count }, (_, i) => ({ domid: 1, ref: i }))
}
