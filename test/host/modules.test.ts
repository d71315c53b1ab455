import { EventEmitter, once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { encodeAllocGref, GNTALLOC_ALLOC_GREF } from '../../src/abi/gntalloc.ts'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/abi/mman.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import type { Order } from '../../src/host/administration.ts'
import { giveOrder } from '../../src/host/orders.ts'
import type { HostMachine, ModuleName } from '../../src/start-host.ts'
import { test } from './machine-test.ts'
import { Peer } from './peer.ts'

/** What a program does that waits until it can share: it connects and tries, again and again. */
async function triesToShare(machine: HostMachine, refused: () => void): Promise<number> {
  for (let tries = 1; ; tries++) {
    if (await canShare(machine)) return tries
    refused()
    await nextTurn()
  }
}

async function canShare(machine: HostMachine): Promise<boolean> {
  using xen = await machine.connect({ domid: 1 })
  try {
    return xen.share({ to: 2 }).grants.length === 1
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOENT', syscall: 'open gntalloc' })
    return false
  }
}

/** The number of open files that keep a module where it is. */
async function usersOf(machine: HostMachine, module: ModuleName): Promise<number> {
  const error: Error = await machine.unloadModule(1, module).then(
    () => new Error('open files: 0;'),
    (refusal: Error) => refusal,
  )
  return Number(/open files: (\d+);/.exec(error.message)?.[1])
}

describe('a module of a domain', () => {
  test('that is missing is told with the command that loads it', async ({ machine }) => {
    using xen = await machine.connect({ domid: 1 })
    using other = await machine.connect({ domid: 2 })
    await machine.unloadModule(1, 'xen-gntalloc')
    expect(() => xen.share({ to: 2 })).toThrow(
      'ENOENT: open gntalloc: no such file or directory (/dev/xen/gntalloc); ' +
        'load the driver: interdom host load 1 xen-gntalloc',
    )
    await machine.unloadModule(1, 'xen-evtchn')
    expect(() => xen.evtchn.bindUnbound({ to: 2 })).toThrow(/^ENOENT: open evtchn: .* xen-evtchn$/)
    using page = other.share({ to: 1 })
    using seen = xen.map(page.grants)
    expect(seen.u8(0)).toBe(0)
    const { domains } = await machine.status()
    expect(domains).toMatchObject([
      { domid: 1, missingModules: ['xen-gntalloc', 'xen-evtchn'] },
      { domid: 2, missingModules: [] },
    ])
  })

  test('is there again for who waits for it, by a new connection or by the old one', async ({
    machine,
  }) => {
    using xen = await machine.connect({ domid: 1 })
    await machine.unloadModule(1, 'xen-gntalloc')
    expect(() => xen.share({ to: 2 })).toThrow('ENOENT')
    const refusals = new EventEmitter()
    const refused = once(refusals, 'refused')
    const sharing = triesToShare(machine, () => refusals.emit('refused'))
    await refused
    await machine.loadModule(1, 'xen-gntalloc')
    await machine.loadModule(1, 'xen-gntalloc')
    expect(await sharing).toBeGreaterThan(1)
    using page = xen.share({ to: 2 })
    expect(page.grants).toHaveLength(1)
  })

  test('stays while somebody uses its device, and goes after that', async ({ machine }) => {
    using two = await machine.connect({ domid: 2 })
    const one = await machine.connect({ domid: 1 })
    const page = one.share({ to: 2 })
    using seen = two.map(page.grants)
    const peer = new Peer(machine, 1, { role: 'granter', to: 2 })
    await peer.hear()
    await expect(machine.unloadModule(1, 'xen-gntalloc')).rejects.toMatchObject({
      code: 'EBUSY',
      syscall: 'host unload',
      message:
        'EBUSY: host unload: device or resource busy; ' +
        'module xen-gntalloc of domain 1 is in use, open files: 2; ' +
        'close them, and unmap what was mapped of them',
    })
    await peer.kill()
    expect(await usersOf(machine, 'xen-gntalloc')).toBe(1)
    expect((await machine.status()).domains).toMatchObject([{}, { missingModules: [] }])
    page.close()
    one.close()
    using again = await machine.connect({ domid: 1 })
    await machine.unloadModule(1, 'xen-gntalloc')
    expect(() => again.share({ to: 2 })).toThrow('ENOENT')
    // Who mapped the page has it still, whatever the granter's kernel has loaded.
    expect(seen.u8(0)).toBe(0)
  })

  test('is held by a mapping alone, until that goes', async ({ machine }) => {
    using xen = await machine.connect({ domid: 1 })
    const device = xen.open('gntalloc')
    const request = encodeAllocGref({ domid: 2, flags: 1, count: 1 })
    expect(device.ioctl(GNTALLOC_ALLOC_GREF, request)).toBe(0)
    const prot = PROT_READ | PROT_WRITE
    const address = device.mmap({ offset: 0, length: PAGE_SIZE, prot, flags: MAP_SHARED })
    expect(await usersOf(machine, 'xen-gntalloc')).toBe(1)
    device.close()
    expect(await usersOf(machine, 'xen-gntalloc')).toBe(1)
    expect(xen.platform.memory.munmap(address, PAGE_SIZE)).toBe(0)
    expect(await usersOf(machine, 'xen-gntalloc')).toBe(0)
  })
})

describe('a domain', () => {
  test('is made with the modules that are named', async ({ machine }) => {
    const domid = await machine.createDomain({ modules: ['xen-gntdev', 'xen-evtchn'] })
    const bare = await machine.createDomain({ modules: [] })
    using xen = await machine.connect({ domid })
    expect(() => xen.share({ to: 1 })).toThrow(`interdom host load ${domid} xen-gntalloc`)
    using port = xen.evtchn.bindUnbound({ to: 1 })
    expect(port.port).toBeGreaterThan(0)
    expect((await machine.status()).domains).toMatchObject([
      { domid, missingModules: ['xen-gntalloc'] },
      { domid: bare, missingModules: ['xen-gntalloc', 'xen-gntdev', 'xen-evtchn'] },
    ])
  })
})

describe('an order about modules', () => {
  const known = 'there are xen-gntalloc, xen-gntdev, xen-evtchn'
  const wrong: [order: object, words: string][] = [
    [{ order: 'load', domid: 1 }, `no module undefined; ${known}`],
    [{ order: 'unload', domid: 1, module: 'ext4' }, `no module "ext4"; ${known}`],
    [{ order: 'load', domid: 1, module: ['xen-evtchn'] }, 'no module ["xen-evtchn"]'],
    [{ order: 'unload', domid: 1, module: '__proto__' }, 'no module "__proto__"'],
    [{ order: 'load', module: 'xen-evtchn' }, 'undefined is no domid'],
    [{ order: 'unload', domid: 9, module: 'xen-evtchn' }, 'there is no domain 9'],
    [{ order: 'domain', modules: 'xen-evtchn' }, 'no list of modules'],
    [{ order: 'domain', modules: ['xen-evtchn', null] }, 'no module null'],
  ]
  test('that is none is refused in a sentence, and changes nothing', async ({ machine }) => {
    using _ = await machine.connect({ domid: 1 })
    for (const [order, words] of wrong) {
      expect(() => giveOrder(machine.directory, order as Order)).toThrow(words)
    }
    expect((await machine.status()).domains).toMatchObject([{ domid: 1, missingModules: [] }])
  })

  test('takes a name with underscores', async ({ machine }) => {
    using _ = await machine.connect({ domid: 1 })
    giveOrder(machine.directory, { order: 'unload', domid: 1, module: 'xen_gntdev' } as never)
    expect((await machine.status()).domains).toMatchObject([{ missingModules: ['xen-gntdev'] }])
  })

  test('of a domain that was destroyed is refused', async ({ machine }) => {
    using one = await machine.connect({ domid: 1 })
    using two = await machine.connect({ domid: 2 })
    const page = one.share({ to: 2 })
    using _ = two.map(page.grants)
    await machine.destroy(1)
    await expect(machine.unloadModule(1, 'xen-evtchn')).rejects.toThrow('domain 1 was destroyed')
    await expect(machine.loadModule(1, 'xen-evtchn')).rejects.toThrow('domain 1 was destroyed')
  })
})
