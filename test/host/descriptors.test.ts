import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { EVTCHN_BIND_UNBOUND_PORT, encodeU32 } from '../../src/abi/evtchn.ts'
import type { HostStatus } from '../../src/host/administration.ts'
import { CallSocket } from '../../src/host/call-socket.ts'
import { connectHost } from '../../src/host/connect-host.ts'
import { controlPath } from '../../src/host/directory.ts'
import type { HostPlatform } from '../../src/host/host-platform.ts'
import { giveOrder } from '../../src/host/orders.ts'
import { OP } from '../../src/host/wire.ts'
import {
  type DescriptorLimit,
  getDescriptorLimit,
  setDescriptorLimit,
} from '../../src/native/process.ts'
import type { Device } from '../../src/platform.ts'
import { startHost } from '../../src/start-host.ts'

const run = promisify(execFile)
const ENTRY = new URL('../../dist/index.js', import.meta.url).href
const MAIN = new URL('../../dist/cli/main.js', import.meta.url).pathname

/** A host that may have only so many descriptors. */
async function confinedHost(descriptors: number): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'interdom-d-'))
  const script = `ulimit -n ${descriptors} && exec "$@"`
  const words = [process.execPath, MAIN, 'host', 'start', '--dir', directory]
  await run('sh', ['-c', script, 'sh', ...words])
  onTestFinished(() => {
    giveOrder(directory, { order: 'stop' })
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
}

function pidOf(directory: string): number {
  return (giveOrder(directory, { order: 'status' }) as HostStatus).pid
}

async function refusedAt(directory: string, domid: number, made: HostPlatform[]): Promise<string> {
  for (;;) {
    try {
      made.push(await connectHost({ directory, domid }))
    } catch (error) {
      return (error as Error).message
    }
  }
}

describe('descriptors', () => {
  test('are as many as the system lets a host have', async () => {
    await using machine = await startHost()
    const limits = readFileSync(`/proc/${machine.pid}/limits`, 'utf8')
    const [, soft, hard] = /^Max open files\s+(\S+)\s+(\S+)/m.exec(limits) ?? []
    expect(soft).toBe(hard)
  })

  test('that a host lacks are refused by name, and leave room for other domains', async () => {
    const directory = await confinedHost(128)
    const made: HostPlatform[] = []
    onTestFinished(() => {
      for (const one of made) one.close()
    })
    expect(await refusedAt(directory, 1, made)).toMatch(
      /^ENFILE: connect host: its share of the host's descriptors, \d+ of \d+ .* in domain 1, \d+ in use, 2 wanted.*ulimit -n/,
    )
    const own = made.length
    expect(own).toBeGreaterThan(4)
    expect(await refusedAt(directory, 2, made)).toContain('in domain 2')
    expect(made.length - own).toBeGreaterThan(2)
    made.push(await connectHost({ directory, domid: 3 }))
  })

  test('that run out after all turn whoever comes away, and nobody else', async () => {
    const directory = await confinedHost(256)
    const client = await connectHost({ directory, domid: 1 })
    const pid = pidOf(directory)
    const open = new Set(readdirSync(`/proc/${pid}/fd`).map(Number))
    let used = 0
    while (open.has(used)) used++
    execFileSync('prlimit', [`--pid=${pid}`, `--nofile=${used}:256`])
    const made: HostPlatform[] = []
    onTestFinished(() => {
      for (const one of made) one.close()
    })
    const words = await refusedAt(directory, 1, made)
    expect(words).toMatch(
      /^ENFILE: connect host: RLIMIT_NOFILE \d+ descriptors of the host, \d+ in use, 1 wanted.*ulimit -n/,
    )
    const device = client.open('gntalloc', { access: 'readwrite', nonblock: true })
    expect(typeof device).toBe('object')
    execFileSync('prlimit', [`--pid=${pid}`, '--nofile=256:256'])
    made.push(await connectHost({ directory, domid: 1 }))
    client.close()
  })

  test('that a client lacks are an error which names the limit, and it can go on', async () => {
    await using machine = await startHost()
    const program = `
      import { connect } from '${ENTRY}'
      const xen = await connect()
      const pages = []
      const words = []
      const until = step => { for (;;) try { step() } catch (error) { return error.message } }
      let to = 2
      words.push(until(() => pages.push(xen.share({ to: to++, writable: true }))))
      for (const page of pages.splice(0)) page.close()
      const ports = []
      words.push(until(() => ports.push(xen.evtchn.bindUnbound({ to: to++ }))))
      for (const port of ports.splice(0)) port.close()
      words.push(xen.evtchn.bindUnbound({ to: 2 }).port > 0, xen.share({ to: 2 }).grants.length)
      console.log(JSON.stringify(words))`
    const script = 'ulimit -n 64 && exec "$@"'
    const words = [process.execPath, '--input-type=module', '-e', program]
    const { stdout } = await run('sh', ['-c', script, 'sh', ...words], { env: machine.env(1) })
    const limit = 'RLIMIT_NOFILE 64 descriptors of this process, 64 in use, 1 wanted.*ulimit -n'
    expect(JSON.parse(stdout)).toEqual([
      expect.stringMatching(`^EMFILE: mmap gntalloc: ${limit}`),
      expect.stringMatching(`^EMFILE: ioctl EVTCHN_BIND_UNBOUND_PORT: ${limit}`),
      true,
      1,
    ])
  })

  test('that a client lacks to wait are named too, and it can wait when it has them', async () => {
    await using machine = await startHost()
    const receiver = await connectHost({ directory: machine.directory, domid: 1 })
    using sender = await machine.connect({ domid: 2 })
    const device = receiver.open('evtchn', { access: 'readwrite', nonblock: true }) as Device
    const argument = encodeU32(2)
    const port = device.ioctl(EVTCHN_BIND_UNBOUND_PORT, argument)
    using bell = sender.evtchn.bindInterdomain({ domid: 1, port })
    const limit = getDescriptorLimit() as DescriptorLimit
    setDescriptorLimit({ ...limit, soft: 3 })
    const refused = device.ready().catch((error: Error) => error)
    setDescriptorLimit(limit)
    expect(await refused).toMatchObject({
      message: expect.stringMatching(
        /^EMFILE: poll evtchn: RLIMIT_NOFILE .* of this process.*ulimit -n/,
      ),
    })
    bell.notify()
    await device.ready()
    expect(device.poll().in).toBe(true)
    receiver.close()
  })

  test('come along with a request only where they carry it', async () => {
    await using machine = await startHost()
    const socket = new CallSocket(controlPath(machine.directory))
    socket.begin(OP.admin).text('x'.repeat(100_000))
    expect(socket.call().result).toBeLessThan(0)
    socket.close()
    expect((await machine.status()).pid).toBe(machine.pid)
  })
})

describe('a domain of first use', () => {
  test('may leave while others come, and none of them sees it', async () => {
    await using machine = await startHost()
    const program = `
      import { connect } from '${ENTRY}'
      for (let i = 0; i < 300; i++) (await connect()).close()`
    const words = ['--input-type=module', '-e', program]
    const clients = Array.from({ length: 4 }, () =>
      run(process.execPath, words, { env: machine.env(7) }),
    )
    for (const { stderr } of await Promise.all(clients)) expect(stderr).toBe('')
    await machine.assertEmpty()
  })
})
