import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test as base, expect } from 'vitest'
import { type HostMachine, startHost } from '../../src/start-host.ts'

const INDEX = fileURLToPath(new URL('../../dist/index.js', import.meta.url))

const test = base.extend<{ machine: HostMachine }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the pattern
  machine: async ({}, use) => {
    const machine = await startHost({ clock: 'manual' })
    await use(machine)
    await machine.close()
  },
})

/** A process of a domain that does something and ends by itself. */
async function program(machine: HostMachine, domid: number, text: string): Promise<string> {
  const source = `import { connect } from ${JSON.stringify(INDEX)}
    const xen = await connect()
    ${text}`
  const options = { env: machine.env(domid) as NodeJS.ProcessEnv }
  const words = ['--input-type=module', '-e', source]
  const { stdout } = await promisify(execFile)(process.execPath, words, options)
  return stdout
}

test('the look of the API works between processes', async ({ machine }) => {
  const xen = await machine.connect({ domid: 1 })
  using bell = xen.evtchn.bindUnbound({ to: 2 })
  using page = xen.share({ to: 2, writable: true })
  page.bytes[72] = 1
  const names = JSON.stringify({ grants: page.grants, port: bell.port })
  const out = await program(
    machine,
    2,
    `const { grants, port } = ${names}
    const far = xen.map(grants, { writable: true })
    const bell = xen.evtchn.bindInterdomain({ domid: 1, port })
    console.log(far.bytes[72])
    far.bytes[73] = 2
    far.notifyOnUnmap({ clearByte: 72, sendEvent: bell })
    process.kill(process.pid, 'SIGKILL')`,
  ).catch((error: { stdout: string; signal: string }) => `${error.stdout}${error.signal}`)
  expect(out).toBe('1\nSIGKILL')
  for await (const _ of bell.events()) break
  expect([page.bytes[72], page.bytes[73]]).toEqual([0, 2])
  page.unmap()
  bell.unbind()
  await machine.advance(1000)
  await machine.assertEmpty()
})

test('a wait keeps a process alive, unless its port is unreferenced', async ({ machine }) => {
  const xen = await machine.connect({ domid: 1 })
  using bell = xen.evtchn.bindUnbound({ to: 2 })
  const wait = (how: string) =>
    program(
      machine,
      2,
      `const port = xen.evtchn.bindInterdomain({ domid: 1, port: ${bell.port} })
      await port.pending()
      port.unmask()
      ${how}
      port.notify()
      port.pending().then(() => { console.log('heard'); process.exit() })
      process.on('exit', () => console.log('exit'))`,
    )
  const stays = wait('port.ref()')
  await bell.pending()
  bell.unmask()
  bell.notify()
  expect(await stays).toBe('heard\nexit\n')
  expect(await wait('port.unref()')).toBe('exit\n')
})

test('a host that dies ends every wait, and closing is quiet', async ({ machine }) => {
  const xen = await machine.connect({ domid: 1 })
  const page = xen.share({ to: 2, writable: true })
  const bell = xen.evtchn.bindUnbound({ to: 2 })
  const pending = bell.pending()
  const events = bell.events().next()
  process.kill(machine.pid, 'SIGKILL')
  await expect(pending).rejects.toMatchObject({ code: 'EHOSTDOWN' })
  await expect(events).rejects.toMatchObject({ code: 'EHOSTDOWN' })
  expect(() => xen.share({ to: 2 })).toThrow(/EHOSTDOWN: ioctl GNTALLOC_ALLOC_GREF/)
  expect(() => xen.evtchn.bindUnbound({ to: 2 })).toThrow(/EHOSTDOWN/)
  page.unmap()
  bell.unbind()
  xen.close()
})
