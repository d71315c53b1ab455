import { expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { MMAP_TRIES } from '../../src/linux/limits.ts'
import { LinuxDevice } from '../../src/linux/linux-device.ts'
import { realSystem } from '../../src/linux/system.ts'
import { close, eventfd } from '../../src/native/libc.ts'
import { FakeSystem } from './fake-system.ts'

const MAPPING = { offset: 0, length: 4096, prot: 3, flags: 1 }

/** A gntdev whose pages are away for so many tries. */
function pagedOut(tries: number): { device: LinuxDevice; system: FakeSystem } {
  const system = new FakeSystem()
  let left = tries
  const memory = { map: () => (left-- > 0 ? -ERRNO.EAGAIN : 0x10000) }
  const context = { system, memory, guard: undefined, adopt: () => {}, release: () => {} }
  return { system, device: new LinuxDevice('gntdev', 10, context) }
}

test('mmap waits for a page that its granter has paged out', () => {
  const { device, system } = pagedOut(3)
  expect(device.mmap(MAPPING)).toBe(0x10000)
  expect(system.calls).toEqual([
    ['pause', 1],
    ['pause', 1],
    ['pause', 1],
  ])
})

test('and not for ever', () => {
  const { device, system } = pagedOut(Number.POSITIVE_INFINITY)
  expect(device.mmap(MAPPING)).toBe(-ERRNO.EAGAIN)
  expect(system.calls.length).toBe(MMAP_TRIES - 1)
})

test('on a real descriptor, ready waits for what another writes', async () => {
  const fd = eventfd(0)
  const memory = { map: () => 0 }
  const context = { system: realSystem, memory, guard: undefined, adopt() {}, release() {} }
  const device = new LinuxDevice('evtchn', fd, context)
  const one = new Uint8Array(new BigUint64Array([1n]).buffer)
  for (let round = 0; round < 3; round++) {
    expect(device.poll()).toEqual({ in: false, out: true, err: false })
    const waits = [device.ready(), device.ready()]
    device.write(one)
    await Promise.all(waits)
    expect(device.poll().in).toBe(true)
    await device.ready()
    expect(device.read(new Uint8Array(8))).toBe(8)
  }
  const gone = device.ready()
  device.close()
  await expect(gone).rejects.toThrow('closed')
  expect(close(fd)).toBe(-ERRNO.EBADF)
})

test('the real system reads small files, and pauses', () => {
  expect(realSystem.readText('/proc/sys/kernel/ostype')).toBe('Linux')
  expect(realSystem.readText('/nonexistent')).toBeUndefined()
  realSystem.pause(1)
})
