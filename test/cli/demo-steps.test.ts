import { describe, expect } from 'vitest'
import { type DemoCast, type DemoPeer, playDemo, read, write } from '../../src/cli/demo-steps.ts'
import type { Connection } from '../../src/connection.ts'
import type { Port } from '../../src/evtchn/port.ts'
import type { Mapping } from '../../src/grant/mapping.ts'
import type { World } from '../../src/sim/index.ts'
import { test } from '../setup/world.ts'

type Open = (
  domid: number,
  process?: ReturnType<ReturnType<World['domain']>['process']>,
) => Connection

/** The other process, in this one: a process of a world that can be killed all the same. */
function peerOn(world: World, open: Open): DemoPeer {
  const process = world.domain(2).process()
  const xen = open(2, process)
  let page: Mapping
  let port: Port
  const hear = async () => {
    await port.pending()
    port.unmask()
  }
  return {
    pid: process.pid,
    domid: 2,
    map: async grants => {
      page = xen.map(grants, { writable: true })
      return read(page.bytes)
    },
    write: async text => write(page.bytes, text),
    bind: async remote => {
      port = xen.evtchn.bindInterdomain({ domid: 1, port: remote })
      await hear()
    },
    hear,
    notify: async () => port.notify(),
    arm: async clearByte => {
      page.bytes[clearByte] = 1
      page.notifyOnUnmap({ clearByte, sendEvent: port })
    },
    kill: async () => process.kill(),
  }
}

function castOn(world: World, open: Open, peer: DemoPeer, signal?: AbortSignal): DemoCast {
  const machine = {
    pid: -1,
    leftovers: async () => world.machine.leftovers(),
  }
  return { machine, xen: open(1), peer, signal: signal ?? new AbortController().signal }
}

describe('the demo', () => {
  test('plays its tour, and is content', async ({ world, open }) => {
    const lines: string[] = []
    const cast = castOn(world, open, peerOn(world, open))
    expect(await playDemo(cast, line => lines.push(line))).toBe(true)
    expect(lines).toHaveLength(8)
    expect(lines.every(line => /^\d\. .*\n {3}ok: /.test(line))).toBe(true)
  })

  const liars: [string, (peer: DemoPeer) => Partial<DemoPeer>, RegExp][] = [
    ['reads another text', () => ({ map: async () => 'good bye' }), /3\..*saw "good bye"/s],
    ['cannot map', () => ({ map: () => Promise.reject(new Error('no')) }), /3\..*FAILED: no/s],
    ['writes nothing', () => ({ write: async () => undefined }), /4\..*saw "hello from domain 1"/s],
    ['does not set the byte', () => ({ arm: async () => undefined }), /6\..*saw 0/s],
    ['shares its process id', () => ({ pid: process.pid }), /1\..*processes: expected 3, saw 2/s],
    [
      'is not killed but tells so and rings',
      peer => ({ kill: () => peer.notify() }),
      /7\..*byte 72 after the kill: expected 0, saw 1/s,
    ],
  ]

  for (const [what, lie, wanted] of liars) {
    test(`fails when the other process ${what}`, async ({ world, open }) => {
      const peer = peerOn(world, open)
      const lines: string[] = []
      const cast = castOn(world, open, { ...peer, ...lie(peer) })
      expect(await playDemo(cast, line => lines.push(line))).toBe(false)
      expect(lines.at(-1)).toMatch(wanted)
      await peer.kill()
    })
  }

  test('fails when something is left in the machine', async ({ world, open }) => {
    const peer = peerOn(world, open)
    const cast = castOn(world, open, peer)
    using _left = open(3).share({ to: 1 })
    const lines: string[] = []
    expect(await playDemo(cast, line => lines.push(line))).toBe(false)
    expect(lines.at(-1)).toMatch(/8\..*what is left in the machine/s)
  })

  test('fails when the event never comes and the time is over', async ({ world, open }) => {
    const peer = peerOn(world, open)
    const stop = new AbortController()
    const kill = async () => stop.abort(new Error('the demo did not end'))
    const lines: string[] = []
    const cast = castOn(world, open, { ...peer, kill }, stop.signal)
    expect(await playDemo(cast, line => lines.push(line))).toBe(false)
    expect(lines.at(-1)).toMatch(/7\..*FAILED: the demo did not end/s)
    await peer.kill()
  })
})
