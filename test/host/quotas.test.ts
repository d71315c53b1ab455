import { describe, expect } from 'vitest'
import { XenError } from '../../src/base/errors.ts'
import type { Connection } from '../../src/connection.ts'
import type { HostUsage } from '../../src/host/administration.ts'
import { Budget } from '../../src/host/budget.ts'
import { DOMAINS_MAX } from '../../src/host/limits.ts'
import { giveOrder } from '../../src/host/orders.ts'
import { close } from '../../src/native/files.ts'
import type { HostMachine } from '../../src/start-host.ts'
import { test } from './machine-test.ts'
import { RawClient } from './raw-client.ts'

const A = 1
const B = 2
const C = 3

/** Domains B and C share, map, bind and notify: whatever domain A has taken. */
async function others(machine: HostMachine): Promise<void> {
  using b = await machine.connect({ domid: B })
  using c = await machine.connect({ domid: C })
  using page = b.share({ to: C, writable: true })
  page.bytes[7] = 7
  using seen = c.map(page.grants)
  expect(seen.u8(7)).toBe(7)
  using bell = b.evtchn.bindUnbound({ to: C })
  using far = c.evtchn.bindInterdomain({ domid: B, port: bell.port })
  bell.notify()
  for await (const _ of far.events()) break
}

interface Quota {
  readonly limit: string
  readonly value: number
  /** What the refusal must say. */
  readonly words: RegExp
  /** Takes until it is refused. */
  take(xen: Connection, machine: HostMachine): Promise<unknown> | unknown
}

function forever(step: () => unknown): never {
  for (;;) step()
}

const QUOTAS: readonly Quota[] = [
  {
    limit: 'gntalloc.limit',
    value: 10,
    words:
      /^ENOSPC: ioctl GNTALLOC_ALLOC_GREF: gntalloc limit 10 pages in domain 1, 8 in use, 4 wanted.*; raise it with: interdom host set 1 gntalloc\.limit 20$/,
    take: xen => forever(() => xen.share({ to: B, pages: 4 })),
  },
  {
    limit: 'gntdev.limit',
    value: 2,
    words:
      /^EINVAL: ioctl GNTDEV_MAP_GRANT_REF: gntdev limit 2 pages a call in domain 1, 3 wanted.*; raise it with: interdom host set 1 gntdev\.limit 4$/,
    take: xen => xen.map(xen.share({ to: A, pages: 3 }).grants),
  },
  {
    limit: 'maxGrantFrames',
    value: 1,
    words:
      /^ENOSPC: ioctl GNTALLOC_ALLOC_GREF: grant table of 1 frames of 512 refs in domain 1, 1 in use, 1 wanted.*; raise it with: interdom host set 1 maxGrantFrames 2$/,
    take: xen => forever(() => xen.share({ to: B, pages: 100 })),
  },
  {
    limit: 'maxMaptrackFrames',
    value: 1,
    words:
      /^EINVAL: mmap gntdev: maptrack table of 1 frames of 256 mappings in domain 1, 1 in use, 1 wanted .*GNTST_no_space.*; raise it with: interdom host set 1 maxMaptrackFrames 2$/,
    take: xen => mapForever(xen, 100),
  },
  {
    limit: 'maxEventChannels',
    value: 20,
    words:
      /^ENOSPC: ioctl EVTCHN_BIND_UNBOUND_PORT: limit of 20 ports in domain 1, 20 in use, 1 wanted.*; raise it with: interdom host set 1 maxEventChannels 40$/,
    take: xen => forever(() => xen.evtchn.bindUnbound({ to: B })),
  },
  {
    limit: 'maxFiles',
    value: 12,
    words:
      /^EMFILE: open evtchn: limit of 12 open files a process in domain 1, 12 in use, 1 wanted .*; raise it with: interdom host set 1 maxFiles 24$/,
    take: xen => openForever(xen),
  },
  {
    limit: 'maxDomainFiles',
    value: 12,
    words:
      /^ENFILE: open evtchn: limit of 12 open files in domain 1, 12 in use, 1 wanted .*; raise it with: interdom host set 1 maxDomainFiles 24$/,
    take: xen => openForever(xen),
  },
  {
    limit: 'maxMaps',
    value: 9,
    words:
      /^ENOMEM: ioctl GNTDEV_MAP_GRANT_REF: limit of 9 maps of gntdev in domain 1, 9 in use, 1 wanted.*; raise it with: interdom host set 1 maxMaps 18$/,
    take: xen => mapForever(xen, 1),
  },
  {
    limit: 'maxMapPages',
    value: 9,
    words:
      /^ENOMEM: ioctl GNTDEV_MAP_GRANT_REF: limit of 9 pages in maps of gntdev in domain 1, 8 in use, 2 wanted.*; raise it with: interdom host set 1 maxMapPages 18$/,
    take: xen => mapForever(xen, 2),
  },
  {
    limit: 'maxMappings',
    value: 9,
    words:
      /^ENOMEM: mmap gntalloc: limit of 9 mappings in domain 1, 9 in use, 1 wanted.*; raise it with: interdom host set 1 maxMappings 18$/,
    take: xen => forever(() => xen.share({ to: A })),
  },
  {
    limit: 'maxProcesses',
    value: 3,
    words:
      /^EAGAIN: connect host: limit of 3 processes in domain 1, 3 in use, 1 wanted .*; raise it with: interdom host set 1 maxProcesses 6$/,
    take: async (_xen, machine) => {
      for (;;) await machine.connect({ domid: A })
    },
  },
  {
    limit: 'maxMemory',
    value: 1200,
    words:
      /^ENOMEM: ioctl GNTALLOC_ALLOC_GREF: limit of 1200 pages of shared memory in domain 1, 1200 in use, 16 wanted.*; raise it with: interdom host set 1 maxMemory 2400$/,
    take: xen => {
      let domid = B
      forever(() => xen.share({ to: domid++ }))
    },
  },
]

/** Maps the same pages of its own domain over and over. */
function mapForever(xen: Connection, pages: number): never {
  const { grants } = xen.share({ to: A, pages })
  return forever(() => xen.map(grants))
}

function openForever(xen: Connection): never {
  return forever(() => {
    const device = xen.platform.open('evtchn', { access: 'readwrite', nonblock: true })
    if (typeof device === 'number') {
      throw new XenError(device, 'open evtchn', {
        path: '/dev/xen/evtchn',
        ...xen.platform.explain?.(),
      })
    }
  })
}

describe('a domain that takes all it can is refused', () => {
  for (const { limit, value, words, take } of QUOTAS) {
    test(`at ${limit}, which names itself, its use and its knob`, async ({ machine }) => {
      using xen = await machine.connect({ domid: A })
      await machine.setLimit(A, limit, value)
      const refusal = await Promise.resolve()
        .then(() => take(xen, machine))
        .catch((error: Error) => error)
      expect((refusal as Error).message).toMatch(words)
      await others(machine)
    })
  }

  test('memory that another domain granted counts against it too, a part for each peer', async ({
    machine,
  }) => {
    using a = await machine.connect({ domid: A })
    using b = await machine.connect({ domid: B })
    using c = await machine.connect({ domid: C })
    await machine.setLimit(A, 'maxMemory', 50)
    const offered = [b.share({ to: A }), b.share({ to: A, writable: true })]
    const fromC = c.share({ to: A })
    using first = a.map(offered[0]?.grants ?? [])
    expect(first.u8(0)).toBe(0)
    expect(() => a.map(offered[1]?.grants ?? [])).toThrow(
      /^ENOMEM: mmap gntdev: limit of 25 pages of domain 2 in domain 1, 16 in use, 16 wanted.*interdom host set 1 maxMemory 100$/,
    )
    using other = a.map(fromC.grants)
    expect(other.u8(0)).toBe(0)
    using own = a.share({ to: B })
    expect(own.grants).toHaveLength(1)
    expect(() => a.share({ to: C })).toThrow(/^ENOMEM: .*limit of 50 pages of shared memory/)
    for (const share of [...offered, fromC]) share.close()
  })

  test('but not by a page and a port for each of a thousand peers', async ({ machine }) => {
    using xen = await machine.connect({ domid: A })
    const peers = Array.from({ length: 1000 }, (_, i) => 1000 + i)
    const pages = peers.map(to => xen.share({ to, writable: true }))
    const ports = peers.map(to => xen.evtchn.bindUnbound({ to }))
    pages.forEach((page, i) => {
      page.bytes[0] = i
    })
    expect(pages.map(page => page.bytes[0])).toEqual(peers.map((_, i) => i % 256))
    await others(machine)
    for (const one of [...pages, ...ports]) one.close()
  })

  test('at the number of domains of a host', async ({ machine }) => {
    const domain = (domid: number) => giveOrder(machine.directory, { order: 'domain', domid })
    for (let domid = 0; domid < DOMAINS_MAX; domid++) domain(domid)
    await expect(machine.connect({ domid: DOMAINS_MAX })).rejects.toThrow(
      `EAGAIN: host domain: limit of ${DOMAINS_MAX} domains on a host, ${DOMAINS_MAX} in use, 1 wanted; destroy`,
    )
    giveOrder(machine.directory, { order: 'destroy', domid: 0 })
    await others(machine)
    expect(domain(DOMAINS_MAX)).toBe(DOMAINS_MAX)
  })
})

describe('the descriptors of a host', () => {
  test('leave room for whoever comes, however many took all they could', () => {
    const budget = new Budget(1000, () => undefined)
    const taken = [1, 2, 3, 4].map(domid => {
      let count = 0
      while (!budget.takeDescriptors(domid, 4)) count += 4
      return count
    })
    expect(taken).toEqual([500, 248, 124, 64])
    expect(budget.takeDescriptors(5, 4)).toBeUndefined()
    const facts = budget.takeDescriptors(1, 4)
    expect(facts).toMatchObject({ used: 500, wanted: 4, fix: expect.stringContaining('ulimit -n') })
    taken.forEach((count, i) => {
      budget.giveDescriptors(i + 1, count)
    })
    budget.giveDescriptors(5, 4)
    expect(budget.descriptors).toBe(0)
  })

  test('are given back by what is unbound, refused or killed', async ({ machine }) => {
    const usage = () => giveOrder(machine.directory, { order: 'usage' }) as HostUsage
    giveOrder(machine.directory, { order: 'domain', domid: A, stays: true })
    await others(machine)
    new RawClient(machine, A)[Symbol.dispose]()
    const before = usage()
    {
      using hog = new RawClient(machine, A)
      const device = hog.open('evtchn')
      for (let domid = 0; domid < 900; domid++) {
        const { result, fds } = hog.bindUnbound(device, domid)
        for (const fd of fds) close(fd)
        if (result < 0) break
      }
      expect(usage().booked).toBeGreaterThan(1000)
      await others(machine)
    }
    const { descriptors, booked } = usage()
    expect({ descriptors, booked }).toMatchObject({
      descriptors: before.descriptors,
      booked: before.booked,
    })
  })
})
