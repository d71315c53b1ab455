/** Section 7.1: what all three devices answer to calls that they do not have. */
import assert from 'node:assert/strict'
import { DEVICE_NAMES } from '../../abi/devices.ts'
import * as evtchn from '../../abi/evtchn.ts'
import * as gntalloc from '../../abi/gntalloc.ts'
import * as gntdev from '../../abi/gntdev.ts'
import { ioctlNumber } from '../../abi/ioctl.ts'
import { type ConformanceCase, defineCase, defineCaseFor } from '../case.ts'
import { NOWHERE } from '../nonsense.ts'
import type { Opened } from '../opened.ts'
import { Epoll, lseek } from '../system-calls.ts'
import { ok, refused } from '../verdict.ts'

/** A number that no driver knows, with a size of 0. */
const unknown = (type: string): number => ioctlNumber(type, 0x99, 0)

const efaultOnNowhere = async (device: Opened, numbers: readonly number[]): Promise<void> => {
  for (const number of numbers) await refused('EFAULT', device.ioctlAt(number, NOWHERE))
}

export const generic: readonly ConformanceCase[] = [
  defineCase(1, 'the three device files open for reading and writing', async t => {
    const puppet = await t.puppet()
    for (const name of DEVICE_NAMES) {
      await ok(puppet.open(name, { access: 'readwrite', nonblock: false }))
    }
  }),

  defineCase(2, 'gntalloc answers an unknown ioctl with ENOTTY, in 2011 EINVAL', async t => {
    await refused(t.profile.unknownIoctl, (await t.gntalloc()).ioctl(unknown('G')))
  }),

  defineCase(3, 'gntdev answers an unknown ioctl with ENOTTY, in 2011 EINVAL', async t => {
    await refused(t.profile.unknownIoctl, (await t.gntdev()).ioctl(unknown('G')))
  }),

  defineCase(4, 'evtchn answers an unknown ioctl with ENOSYS', async t => {
    await refused('ENOSYS', (await t.evtchn()).ioctl(unknown('E')))
  }),

  defineCase(5, 'SET_MAX_GRANTS is gone: an unknown ioctl', async t => {
    const d = await t.gntdev()
    await refused(
      t.profile.unknownIoctl,
      d.ioctl(gntdev.GNTDEV_SET_MAX_GRANTS, evtchn.encodeU32(128)),
    )
  }),

  defineCase(6, 'ALLOC_GREF with another size in its number is another call', async t => {
    const a = await t.gntalloc()
    await refused(t.profile.unknownIoctl, a.ioctl(ioctlNumber('G', 5, 20), new Uint8Array(24)))
  }),

  defineCase(7, 'gntalloc does not know MAP_GRANT_REF', async t => {
    const a = await t.gntalloc()
    await refused(
      t.profile.unknownIoctl,
      a.ioctl(gntdev.GNTDEV_MAP_GRANT_REF, gntdev.encodeMapGrantRef([])),
    )
  }),

  defineCase(8, 'gntdev does not know ALLOC_GREF', async t => {
    const d = await t.gntdev()
    const argument = gntalloc.encodeAllocGref({ domid: t.domid, flags: 0, count: 1 })
    await refused(t.profile.unknownIoctl, d.ioctl(gntalloc.GNTALLOC_ALLOC_GREF, argument))
  }),

  defineCase(9, 'gntalloc and gntdev can be neither read nor written', async t => {
    for (const device of [await t.gntalloc(), await t.gntdev()]) {
      await refused('EINVAL', device.read(4))
      await refused('EINVAL', device.write(new Uint8Array(4)))
    }
  }),

  defineCase(10, 'evtchn cannot be mmapped: ENODEV', async t => {
    await refused('ENODEV', (await t.evtchn()).mmap(0))
  }),

  defineCaseFor('remap', 11, 'evtchn cannot seek: ESPIPE', async t => {
    await refused('ESPIPE', lseek(await t.evtchn({ on: await t.able() }), 0))
  }),

  defineCase(12, 'every ioctl answers EFAULT to an address where nothing is', async t => {
    await efaultOnNowhere(await t.gntalloc(), [
      gntalloc.GNTALLOC_ALLOC_GREF,
      gntalloc.GNTALLOC_DEALLOC_GREF,
      gntalloc.GNTALLOC_SET_UNMAP_NOTIFY,
    ])
    await efaultOnNowhere(await t.gntdev(), [
      gntdev.GNTDEV_MAP_GRANT_REF,
      gntdev.GNTDEV_UNMAP_GRANT_REF,
      gntdev.GNTDEV_GET_OFFSET_FOR_VADDR,
      gntdev.GNTDEV_SET_UNMAP_NOTIFY,
      ...(t.profile.hasGrantCopy ? [gntdev.GNTDEV_GRANT_COPY] : []),
    ])
    const e = await t.evtchn()
    await efaultOnNowhere(e, [
      evtchn.EVTCHN_BIND_VIRQ,
      evtchn.EVTCHN_BIND_INTERDOMAIN,
      evtchn.EVTCHN_BIND_UNBOUND_PORT,
      evtchn.EVTCHN_UNBIND,
      evtchn.EVTCHN_NOTIFY,
      ...(t.profile.hasRestrictDomid ? [evtchn.EVTCHN_RESTRICT_DOMID] : []),
    ])
    const bindStatic = e.ioctlAt(evtchn.EVTCHN_BIND_STATIC, NOWHERE)
    await refused(t.profile.hasBindStatic ? 'EFAULT' : 'ENOSYS', bindStatic)
    // None of the refused calls left a port or a restriction behind.
    assert.ok((await ok(e.bindUnbound())) > 0)
  }),

  defineCaseFor(
    'remap',
    251,
    'gntalloc and gntdev are always ready, and epoll refuses them',
    async t => {
      const on = await t.able()
      const epoll = await Epoll.create(on)
      for (const device of [await t.gntalloc({ on }), await t.gntdev({ on })]) {
        assert.deepEqual(await device.poll(), { in: true, out: true, err: false })
        await refused('EPERM', epoll.addEdgeTriggered(device))
      }
      assert.equal(await epoll.addEdgeTriggered(await t.evtchn({ on })), 0)
    },
  ),
]
