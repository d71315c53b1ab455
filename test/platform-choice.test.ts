import { describe, expect, test } from 'vitest'
import { connect } from '../src/connect.ts'
import type { Platform } from '../src/platform.ts'
import { type ConnectOptions, choosePlatform } from '../src/platform-choice.ts'
import { createWorld } from '../src/sim/index.ts'

function choose(
  options: ConnectOptions,
  env: Record<string, string> = {},
  hypervisorType?: string,
): unknown {
  return choosePlatform(options, { env, hypervisorType })
}

const host = (domid: number, directory?: string, start = false) => {
  return { kind: 'host', domid, directory, start }
}

describe('which platform', () => {
  test('is the one that was asked for', () => {
    expect(choose({ platform: 'xen' })).toEqual({ kind: 'linux', domid: undefined })
    expect(choose({ platform: 'linux', domid: 4 })).toEqual({ kind: 'linux', domid: 4 })
    expect(choose({ platform: 'host', domid: 1 }, {}, 'xen')).toEqual(host(1))
    expect(choose({ platform: 'host', domid: 1, host: '/h', start: true })).toEqual(
      host(1, '/h', true),
    )
  })

  test('is else the one in INTERDOM_PLATFORM', () => {
    const env = { INTERDOM_PLATFORM: 'host', INTERDOM_DOMID: '3', INTERDOM_HOST: '/h' }
    expect(choose({}, env, 'xen')).toEqual(host(3, '/h'))
    expect(choose({ platform: 'xen' }, env)).toEqual({ kind: 'linux', domid: 3 })
    expect(choose({ domid: 5, host: '/other' }, env)).toEqual(host(5, '/other'))
  })

  test('is else Xen in a domain of Xen, and else the host that is named', () => {
    const env = { INTERDOM_HOST: '/h', INTERDOM_DOMID: '2' }
    expect(choose({}, env, 'xen')).toEqual({ kind: 'linux', domid: 2 })
    expect(choose({}, env)).toEqual(host(2, '/h'))
    expect(choose({}, env, 'kvm')).toEqual(host(2, '/h'))
    expect(choose({ host: '/mine', domid: 1 }, {}, 'xen')).toEqual(host(1, '/mine'))
    expect(choose({ start: true, domid: 1 })).toEqual(host(1, undefined, true))
  })

  test('is never a simulator in silence: the error names both ways', () => {
    const message =
      /ENODEV: connect: .*type is missing.*domain of Xen.*interdom host start.*INTERDOM_HOST/
    expect(() => choose({})).toThrow(message)
    expect(() => choose({ domid: 1 }, { INTERDOM_PLATFORM: '' }, 'kvm')).toThrow(/type says kvm/)
  })

  test('needs a domid on a host', () => {
    expect(() => choose({ platform: 'host' })).toThrow(/which one to be.*INTERDOM_DOMID/)
    expect(() => choose({ platform: 'host', domid: 32752 })).toThrow(RangeError)
    expect(() => choose({ platform: 'host' }, { INTERDOM_DOMID: 'one' })).toThrow(
      /INTERDOM_DOMID must be an integer from 0 to 32751/,
    )
  })

  test('has only the names that there are', () => {
    expect(() => choose({ platform: 'sim' as never })).toThrow(
      "platform must be xen, linux, host or a Platform, got 'sim'",
    )
    expect(() => choose({}, { INTERDOM_PLATFORM: 'kvm' })).toThrow(/INTERDOM_PLATFORM must be/)
    expect(() => choose({ platform: 7 as never })).toThrow(/got a number/)
  })

  test('may be an object, whose domid is its own', () => {
    const platform = { domid: 4 } as Platform
    expect(choose({ platform })).toEqual({ kind: 'given', platform })
    expect(choose({ platform, domid: 4 })).toEqual({ kind: 'given', platform })
    expect(() => choose({ platform, domid: 5 })).toThrow(
      'domid 5 was wanted, but the platform is domain 4',
    )
  })
})

describe('connect', () => {
  test('to a platform of one’s own leaves it open when the connection is closed', async () => {
    const world = createWorld({ seed: 1 })
    const process = world.domain(1).process()
    {
      await using xen = await connect({ platform: process })
      using page = xen.share({ to: 2 })
      expect(page.grants[0]?.domid).toBe(1)
      expect(xen.domid).toBe(1)
    }
    expect(process.memory.alloc(4096)).toBeGreaterThan(0)
    world.assertEmpty()
    world.close()
  })
})
