import { expect } from 'vitest'
import {
  EVTCHN_BIND_INTERDOMAIN,
  EVTCHN_BIND_UNBOUND_PORT,
  EVTCHN_NOTIFY,
  encodeBindInterdomain,
  encodePorts,
  encodeU32,
} from '../../src/abi/evtchn.ts'
import { Owner } from '../../src/base/owner.ts'
import { Dispatcher } from '../../src/evtchn/dispatcher.ts'
import { PortState } from '../../src/evtchn/port-state.ts'
import { type Device, isDevice } from '../../src/platform.ts'
import { test } from '../setup/world.ts'

/** A ring has 64 entries at first; the 65th event that was let through unread is lost. */
const RING_ENTRIES = 64

test('an overflow of the ring is recovered, and every port gets a hint', async ({ world }) => {
  const process = world.domain(1).process()
  const device = process.open('evtchn', { access: 'readwrite', nonblock: true }) as Device
  expect(isDevice(device)).toBe(true)
  const dispatcher = new Dispatcher(device)
  const stateOf = (port: number) => new PortState(port, dispatcher, new Owner('a connection'))
  const near = stateOf(device.ioctl(EVTCHN_BIND_UNBOUND_PORT, encodeU32(1)))
  const bind = encodeBindInterdomain(1, near.port)
  const far = stateOf(device.ioctl(EVTCHN_BIND_INTERDOMAIN, bind))
  dispatcher.add(near)
  dispatcher.add(far)
  // A stranger on the same descriptor, who writes back what nobody has read.
  for (let i = 0; i <= RING_ENTRIES; i++) {
    device.ioctl(EVTCHN_NOTIFY, encodeU32(near.port))
    device.write(encodePorts([far.port]))
  }
  expect(device.poll()).toEqual({ in: false, out: false, err: true })
  await dispatcher.next(far)
  expect(near.pending).toBe(true)
  await dispatcher.next(near)

  const next = dispatcher.next(far)
  device.ioctl(EVTCHN_NOTIFY, encodeU32(near.port))
  await next
  process.close()
})
