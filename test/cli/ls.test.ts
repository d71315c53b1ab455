import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import type { DomainSeen } from '../../src/host/inspection.ts'
import { startHost } from '../../src/start-host.ts'

const run = promisify(execFile)

function interdom(...words: string[]): Promise<{ stdout: string; stderr: string }> {
  return run(process.execPath, ['dist/cli/main.js', ...words])
}

test('ls says who grants, maps and has bound what, and how much of each limit is used', async () => {
  await using machine = await startHost({ clock: 'manual' })
  const one = await machine.connect({ domid: 1 })
  const two = await machine.connect({ domid: 2 })
  const page = one.share({ to: 2, writable: true })
  const [grant] = page.grants
  two.map(page.grants, { writable: true })
  const bell = one.evtchn.bindUnbound({ to: 2 })
  const { port } = two.evtchn.bindInterdomain({ domid: 1, port: bell.port })
  one.evtchn.bindUnbound({ to: 3 })
  const { stdout } = await interdom('ls', '--dir', machine.directory)
  expect(stdout.split('\n')).toEqual(
    expect.arrayContaining([
      `domain 1  pv  linux-6.12  processes ${process.pid}`,
      '  gntalloc.limit: 1 of 1024 pages',
      `  grant ${grant?.ref} to domain 2, mapped, pid ${process.pid}`,
      `  port ${bell.port} connected to port ${port} of domain 2`,
      `  maps grant ${grant?.ref} of domain 1, writable`,
    ]),
  )
  expect(stdout).toContain('waits for domain 3')
  const seen = JSON.parse((await interdom('ls', '--json', '--dir', machine.directory)).stdout)
  expect(seen).toMatchObject([{ domid: 1, counts: { grants: 1, mappings: 0, ports: 2 } }, {}])
})

test('host create makes a domain that stays without a process, of the kernel that was asked for', async () => {
  await using machine = await startHost()
  const words = ['host', 'create', '--dir', machine.directory, '--kernel', 'linux-6.1', '7']
  await interdom(...words)
  const { stdout } = await interdom('ls', '--dir', machine.directory)
  expect(stdout).toContain('domain 7  pv  linux-6.1  no process')
})

test('host set changes a limit, and the error that it causes names that very command', async () => {
  await using machine = await startHost()
  const xen = await machine.connect({ domid: 3 })
  await interdom('host', 'set', '--dir', machine.directory, '3', 'gntalloc.limit', '4')
  expect(() => xen.share({ to: 1, pages: 5 })).toThrow(
    'gntalloc limit 4 pages in domain 3, 0 in use, 5 wanted (domid 1); ' +
      'raise it with: interdom host set 3 gntalloc.limit 8',
  )
  await expect(
    interdom('host', 'set', '--dir', machine.directory, '3', 'nonsense', '4'),
  ).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('no limit "nonsense"') })
  await expect(
    interdom('host', 'set', '--dir', machine.directory, '3', 'gntalloc.limit', 'many'),
  ).rejects.toMatchObject({ code: 2 })
})

test('host unload takes a module out while nobody uses it, host load brings it back', async () => {
  await using machine = await startHost()
  const xen = await machine.connect({ domid: 3 })
  const host = (...words: string[]) => interdom('host', ...words, '--dir', machine.directory)
  const ls = async () => (await interdom('ls', '--dir', machine.directory)).stdout
  const status = async () => (await host('status')).stdout
  const page = xen.share({ to: 1 })
  await expect(host('unload', '3', 'xen-gntalloc')).rejects.toMatchObject({
    code: 1,
    stdout: '',
    stderr:
      'interdom host unload: EBUSY: host unload: device or resource busy; ' +
      'module xen-gntalloc of domain 3 is in use, open files: 1; ' +
      'close them, and unmap what was mapped of them\n',
  })
  page.close()
  const { stdout } = await host('unload', '3', 'xen_evtchn')
  expect(stdout).toBe('domain 3: xen-evtchn is unloaded\n')
  await host('unload', '3', 'xen-gntdev')
  expect(await ls()).toContain(
    `domain 3  pv  linux-6.12  processes ${process.pid}\n  not loaded: xen-gntdev, xen-evtchn\n`,
  )
  const json = await interdom('ls', '--json', '--dir', machine.directory)
  expect(JSON.parse(json.stdout)).toMatchObject([{ missingModules: ['xen-gntdev', 'xen-evtchn'] }])
  expect(await status()).toContain(
    `  domain 3  pv  linux-6.12  processes ${process.pid}  not loaded: xen-gntdev, xen-evtchn\n`,
  )
  for (const module of ['xen-evtchn', 'xen_gntdev', 'xen_gntdev']) await host('load', '3', module)
  expect([await ls(), await status()].join('')).not.toContain('not loaded')

  await expect(host('unload', '4', 'xen-gntdev')).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('there is no domain 4'),
  })
  await machine.assertEmpty()
})

test('a host and its domains are what the command line says, and ls shows it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'interdom-c-'))
  try {
    const limit = ['--limit', 'gntalloc.limit=7', '--limit', 'maxFiles=9']
    await interdom('host', 'start', '--dir', directory, '--clock', 'manual', ...limit)
    const own = ['--kind', 'hvm', '--kernel', 'linux-6.1', '--limit', 'maxFiles=5']
    await interdom('host', 'create', '--dir', directory, ...own, '4')
    const { stdout } = await interdom('ls', '--json', '--dir', directory)
    const [seen] = JSON.parse(stdout) as DomainSeen[]
    expect(seen).toMatchObject({ domid: 4, kind: 'hvm', kernel: 'linux-6.1' })
    expect(seen?.limits).toEqual(
      expect.arrayContaining([
        { name: 'gntalloc.limit', unit: 'pages', used: 0, limit: 7 },
        { name: 'maxFiles', unit: 'open files a process', limit: 5 },
      ]),
    )
    const { stdout: time } = await interdom('host', 'advance', '--dir', directory, '1500')
    expect(time).toBe('it is 1500 ms\n')
    const wrong = interdom('host', 'create', '--dir', directory, '--limit', 'maxFoos=5', '5')
    await expect(wrong).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/one of gntalloc.limit, .*maxFiles/),
    })
  } finally {
    await interdom('host', 'stop', '--dir', directory)
    rmSync(directory, { recursive: true, force: true })
  }
})

test('a program makes domains of any kind, with limits of their own', async () => {
  await using machine = await startHost({ limits: { maxFiles: 30 } })
  const domid = await machine.createDomain({ kind: 'hvm', limits: { 'gntdev.limit': 3 } })
  const { domains } = await machine.status()
  expect(domains).toMatchObject([
    { domid, kind: 'hvm', pids: [], limits: { maxFiles: 30, 'gntdev.limit': 3 } },
  ])
})
