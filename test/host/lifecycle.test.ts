import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { test as bare, describe, expect, onTestFinished } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { connect } from '../../src/connect.ts'
import type { HostStatus, HostUsage } from '../../src/host/administration.ts'
import { CallSocket } from '../../src/host/call-socket.ts'
import { connectHost } from '../../src/host/connect-host.ts'
import {
  controlPath,
  domainPath,
  hostDirectory,
  prepareDirectory,
} from '../../src/host/directory.ts'
import { HostPlatform } from '../../src/host/host-platform.ts'
import { giveOrder } from '../../src/host/orders.ts'
import { OP, WIRE_MAGIC, WIRE_VERSION } from '../../src/host/wire.ts'
import { type HostMachine, startHost } from '../../src/start-host.ts'
import { test } from './machine-test.ts'
import { stop } from './stopped.ts'

const ENTRY = new URL('../../dist/index.js', import.meta.url).href

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'interdom-l-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A signal stops one thread after the other. */
async function domids(machine: HostMachine): Promise<number[]> {
  return (await machine.status()).domains.map(({ domid }) => domid)
}

describe('a domain', () => {
  test('of first use goes with its last process, and its number serves again', async ({
    machine,
  }) => {
    const one = await machine.connect({ domid: 7 })
    const two = await machine.connect({ domid: 7 })
    one.close()
    expect(await domids(machine)).toEqual([7])
    two.close()
    expect(await domids(machine)).toEqual([])
    expect(existsSync(domainPath(machine.directory, 7))).toBe(false)
    using again = await machine.connect({ domid: 7 })
    expect(again.share({ to: 1 }).grants).toHaveLength(1)
  })

  test('of first use waits until nobody maps a page of it', async ({ machine }) => {
    const one = await machine.connect({ domid: 7 })
    using two = await machine.connect({ domid: 8 })
    const page = one.share({ to: 8, writable: true })
    page.bytes[0] = 42
    const seen = two.map(page.grants)
    one.close()
    expect(await domids(machine)).toEqual([7, 8])
    expect(seen.u8(0)).toBe(42)
    seen.close()
    expect(await domids(machine)).toEqual([8])
  })

  test('of a number that was destroyed has the events of its own ports', async ({ machine }) => {
    using one = await machine.connect({ domid: 1 })
    const usage = () => {
      const { ports, booked } = giveOrder(machine.directory, { order: 'usage' }) as HostUsage
      return { ports, booked }
    }
    const before = usage()
    for (let life = 0; life < 3; life++) {
      using two = await machine.connect({ domid: 2 })
      using far = two.evtchn.bindUnbound({ to: 1 })
      using near = one.evtchn.bindInterdomain({ domid: 2, port: far.port })
      near.notify()
      await far.pending()
      far.notify()
      await near.pending()
      await machine.destroy(2)
      near.close()
      expect(usage()).toEqual(before)
    }
  })

  test('made to stay stays', async ({ machine }) => {
    giveOrder(machine.directory, { order: 'domain', domid: 7, stays: true })
    const one = await machine.connect({ domid: 7 })
    one.close()
    expect(await domids(machine)).toEqual([7])
  })

  test('has as many connections of a process as it opens, each a process of its own', async ({
    machine,
  }) => {
    using one = await machine.connect({ domid: 1 })
    const two = await machine.connect({ domid: 1 })
    using page = one.share({ to: 1, writable: true })
    const seen = two.map(page.grants, { writable: true })
    seen.bytes[3] = 9
    two.close()
    expect(page.bytes[3]).toBe(9)
  })
})

describe('a client', () => {
  test('in a worker thread is released when the worker is terminated', async ({ machine }) => {
    using xen = await machine.connect({ domid: 2 })
    using bell = xen.evtchn.bindUnbound({ to: 1 })
    const code = `
      import { workerData, parentPort } from 'node:worker_threads'
      import { connect } from '${ENTRY}'
      const xen = await connect({ platform: 'host', host: workerData.directory, domid: 1 })
      const page = xen.share({ to: 2, writable: true })
      const bell = xen.evtchn.bindInterdomain({ domid: 2, port: workerData.port })
      page.notifyOnUnmap({ sendEvent: bell })
      parentPort.postMessage(page.grants)
      setInterval(() => {}, 1000)`
    const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`)
    const workerData = { directory: machine.directory, port: bell.port }
    const worker = new Worker(url, { workerData })
    const [grants] = await once(worker, 'message')
    const page = xen.map(grants)
    await worker.terminate()
    page.close()
  })

  test('in a worker thread can be terminated while it is too busy to take an event', async ({
    machine,
  }) => {
    using xen = await machine.connect({ domid: 2 })
    using bell = xen.evtchn.bindUnbound({ to: 1 })
    const code = `
      import { workerData, parentPort } from 'node:worker_threads'
      import { connect } from '${ENTRY}'
      const xen = await connect({ platform: 'host', host: workerData.directory, domid: 1 })
      const far = xen.evtchn.bindInterdomain({ domid: 2, port: workerData.port })
      await far.pending()
      far.unmask()
      far.pending().catch(() => undefined)
      setImmediate(() => {
        parentPort.postMessage('busy')
        for (;;);
      })`
    const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`)
    const workerData = { directory: machine.directory, port: bell.port }
    const worker = new Worker(url, { workerData })
    await once(worker, 'message')
    bell.notify()
    expect(await worker.terminate()).toBe(1)
  })

  test('of another version is told so, and both versions are named', async ({ machine }) => {
    using _ = await machine.connect({ domid: 1 })
    const socket = new CallSocket(domainPath(machine.directory, 1))
    socket
      .begin(OP.hello)
      .u32(WIRE_MAGIC)
      .u32(WIRE_VERSION + 1)
    const { result, body } = socket.call()
    expect(result).toBe(-ERRNO.EPROTO)
    expect(body.u32()).toBe(WIRE_VERSION)
    socket.close()
  })

  test('of a host that was stopped has an error within its bound', async ({ machine }) => {
    using _ = await machine.connect({ domid: 1 })
    const socket = new CallSocket(domainPath(machine.directory, 1), 100)
    await stop(machine.pid)
    try {
      socket.begin(OP.explain).u32(3)
      expect(socket.call().result).toBe(-ERRNO.EHOSTDOWN)
    } finally {
      process.kill(machine.pid, 'SIGCONT')
    }
    expect(socket.death?.fix).toContain('did not answer within 100 ms')
    socket.close()
  })
})

describe('a host', () => {
  bare('is one, however many clients start it at once', async () => {
    const directory = join(temporary(), 'host')
    const clients = await Promise.all(
      Array.from({ length: 20 }, () => connectHost({ directory, domid: 1, start: true })),
    )
    const { domains } = giveOrder(directory, { order: 'status' }) as HostStatus
    expect(domains).toMatchObject([{ domid: 1, pids: new Array(20).fill(process.pid) }])
    for (const client of clients) client.close()
    giveOrder(directory, { order: 'stop' })
  })

  bare('starts again in the directory in which it was killed', async () => {
    const directory = temporary()
    const killed = await startHost({ directory })
    const xen = await killed.connect({ domid: 1 })
    process.kill(killed.pid, 'SIGKILL')
    await expect(async () => {
      for (;;) {
        xen.share({ to: 2 })
        await new Promise(setImmediate)
      }
    }).rejects.toThrow('EHOSTDOWN')
    await killed.close()
    expect(existsSync(domainPath(directory, 1))).toBe(true)
    await using machine = await startHost({ directory })
    using again = await machine.connect({ domid: 1 })
    using page = again.share({ to: 2 })
    expect(page.grants).toHaveLength(1)
  })

  bare(
    'that was stopped is ENOENT for who connects, with the command that starts one',
    async () => {
      const directory = temporary()
      const stopped = await startHost({ directory })
      const xen = await stopped.connect({ domid: 1 })
      xen.share({ to: 2 }).unmap()
      await stopped.assertEmpty()
      xen.close()
      giveOrder(directory, { order: 'stop' })
      await stopped.close()
      await expect(connect({ platform: 'host', host: directory, domid: 1 })).rejects.toThrow(
        `ENOENT: connect host: no such file or directory (${controlPath(directory)}); ` +
          'no host runs there: "interdom host start"',
      )
    },
  )

  bare('refuses a directory that others may write to, or that another user has', async () => {
    const directory = temporary()
    chmodSync(directory, 0o770)
    await expect(startHost({ directory })).rejects.toThrow(/EACCES.*mode 0770/)
    if (process.getuid?.() !== 0) return
    const { chownSync } = await import('node:fs')
    chmodSync(directory, 0o700)
    chownSync(directory, 54_321, -1)
    await expect(startHost({ directory })).rejects.toThrow(/EACCES.*one of uid 54321/)
  })

  bare('says how long a path may be', () => {
    expect(() => prepareDirectory(`/tmp/${'x'.repeat(90)}`)).toThrow(/at most 107.*--dir/)
  })

  bare('is found without XDG_RUNTIME_DIR and without HOME', () => {
    expect(hostDirectory(undefined, {}, 1001)).toBe('/tmp/interdom-1001')
    expect(hostDirectory(undefined, {}, 0)).toBe('/run/interdom')
    const open = temporary()
    chmodSync(open, 0o755)
    expect(hostDirectory(undefined, { XDG_RUNTIME_DIR: open })).not.toContain(open)
  })
})

describe('a host of another version', () => {
  for (const [what, version, words] of [
    ['older', WIRE_VERSION - 1, /the host is older; stop it with "interdom host stop" and start/],
    ['newer', WIRE_VERSION + 1, /this program is older; update its interdom, or .*--dir/],
  ] as const) {
    bare(`that is ${what} is one clear line with both versions and the fix`, () => {
      const directory = temporary()
      const path = domainPath(directory, 1)
      // Only what a greeting needs, on a thread of its own: the call blocks this one.
      const code = `
        const { workerData: { path, version, src }, parentPort } = require('node:worker_threads')
        void (async () => {
          const sockets = await import(src + 'native/sockets.js')
          const framed = await import(src + 'host/message-socket.js')
          const { BodyWriter } = await import(src + 'host/wire.js')
          const door = sockets.socket(sockets.SOCK_SEQPACKET)
          sockets.bind(door, path)
          sockets.listen(door, 1)
          Atomics.store(workerData.ready, 0, 1)
          Atomics.notify(workerData.ready, 0)
          const client = sockets.accept(door)
          const { op, serial } = framed.receiveFramed(client, framed.receiveRoom())
          const answer = new BodyWriter().u32(version).u32(1).u32(0).text('x')
          framed.sendFramed(client, answer.head(op, 0, serial, -71))
        })()`.replace('workerData: {', 'workerData, workerData: {')
      const ready = new Int32Array(new SharedArrayBuffer(4))
      const src = new URL('../../dist/', import.meta.url).href
      const host = new Worker(code, { eval: true, workerData: { path, version, src, ready } })
      onTestFinished(async () => {
        await host.terminate()
      })
      Atomics.wait(ready, 0, 0, 10_000)
      const connecting = () => new HostPlatform({ directory, domid: 1 })
      expect(connecting).toThrow(words)
    })
  }
})
