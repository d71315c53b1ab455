import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { doctorText, isUsable } from '../../src/cli/doctor.ts'
import { type DoctorRow, doctorRows, type Probes } from '../../src/cli/doctor-rows.ts'

const run = promisify(execFile)
const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
/** Nobody of importance. */
const UID = 65_432

const FILES: Readonly<Record<string, string>> = {
  '/sys/hypervisor/type': 'xen',
  '/sys/module/xen_gntalloc/parameters/limit': '1024',
  '/sys/module/xen_gntdev/parameters/limit': '65536',
  '/proc/sys/vm/max_map_count': '65530',
  '/proc/self/limits': 'Max processes  1  1  x\nMax open files            20000  20000  files\n',
}

const HOST = {
  directory: '/run/user/1000/interdom',
  running: 'pid 5',
  trouble: undefined,
  version: 1,
  ownVersion: 1,
  pathBytes: 40,
  pathBytesMax: 107,
  missingModules: [],
}

/** A machine that has everything, but for what a test takes away. */
function machine(changes: Partial<Probes> = {}, files: Record<string, string | undefined> = {}) {
  const all = { ...FILES, ...files }
  const probes: Probes = {
    nodeVersion: 'v20.20.2',
    architecture: 'x64',
    osPlatform: 'linux',
    libc: 'glibc 2.36',
    uid: 1000,
    readFile: path => {
      const text = all[path]
      return text === undefined ? { code: 'ENOENT' } : { text }
    },
    access: () => undefined,
    native: async () => undefined,
    host: async () => HOST,
    seals: () => undefined,
    testbed: () => undefined,
    choice: () => ({ found: 'the real devices of this domain' }),
    ...changes,
  }
  return doctorRows(probes)
}

function missing(rows: readonly DoctorRow[]): string[] {
  return rows.filter(({ ok }) => !ok).map(({ name }) => name)
}

function fixOf(rows: readonly DoctorRow[], name: string): string | undefined {
  return rows.find(row => row.name === name)?.fix
}

describe('the doctor', () => {
  test('finds nothing missing on a machine that has everything', async () => {
    const rows = await machine()
    expect(missing(rows)).toEqual([])
    expect(rows.every(({ fix }) => fix === undefined)).toBe(true)
    expect(isUsable(rows)).toBe(true)
  })

  test('knows a laptop without Xen as one where hosts run', async () => {
    const rows = await machine(
      {
        access: () => 'ENOENT',
        host: async () => ({ ...HOST, running: undefined, version: undefined }),
      },
      {
        '/sys/hypervisor/type': undefined,
        '/sys/module/xen_gntalloc/parameters/limit': undefined,
        '/sys/module/xen_gntdev/parameters/limit': undefined,
      },
    )
    expect(missing(rows)).toEqual([
      'domain of Xen',
      '/dev/xen/gntalloc',
      '/dev/xen/gntdev',
      '/dev/xen/evtchn',
      'gntalloc limit',
      'gntdev limit',
      'host',
    ])
    expect(fixOf(rows, '/dev/xen/gntdev')).toContain('modprobe xen-gntdev')
    expect(fixOf(rows, 'host')).toBe('interdom host start')
    expect(isUsable(rows)).toBe(true)
  })

  test('tells a device that is not there from one that may not be opened', async () => {
    const rows = await machine({ access: path => (path.endsWith('evtchn') ? 'EACCES' : undefined) })
    expect(missing(rows)).toEqual(['/dev/xen/evtchn'])
    expect(fixOf(rows, '/dev/xen/evtchn')).toMatch(/root.*uid 1000.*udev/)
  })

  const lacks: [string, Partial<Probes>, Record<string, string | undefined>, RegExp][] = [
    ['Node.js', { nodeVersion: 'v18.1.0' }, {}, /Node 20/],
    ['system', { osPlatform: 'darwin' }, {}, /Linux/],
    ['architecture', { architecture: 'mips' }, {}, /x86-64/],
    ['libc', { libc: undefined }, {}, /glibc/],
    ['native calls', { native: async () => 'no binary' }, {}, /omit=optional/],
    ['vm.max_map_count', {}, { '/proc/sys/vm/max_map_count': '1000' }, /sysctl/],
    ['open files', {}, { '/proc/self/limits': 'Max open files  256  256 files' }, /ulimit/],
    ['open files', {}, { '/proc/self/limits': undefined }, /ulimit/],
    ['memfd and seals', { seals: () => 'ENOSYS' }, {}, /Linux 5\.1.*seccomp/],
    ['host directory', { host: async () => ({ ...HOST, trouble: 'EROFS' }) }, {}, /INTERDOM_HOST/],
    ['socket paths', { host: async () => ({ ...HOST, pathBytes: 108 }) }, {}, /shorter directory/],
    ['host version', { host: async () => ({ ...HOST, version: 2 }) }, {}, /host stop.*update/],
  ]
  for (const [name, changes, files, fix] of lacks) {
    test(`says what to do about ${name}`, async () => {
      const rows = await machine(changes, files)
      expect(missing(rows)).toEqual([name])
      expect(fixOf(rows, name)).toMatch(fix)
    })
  }

  const marks: [string, string, string][] = [
    ['/.dockerenv', '', 'docker'],
    ['/run/.containerenv', 'engine="podman"', 'podman'],
    ['/run/systemd/container', 'lxc', 'lxc'],
    ['/proc/1/cgroup', '0::/kubepods/pod1', 'cgroup'],
  ]
  for (const [path, text, name] of marks) {
    test(`knows a container by ${path}, which is no hindrance`, async () => {
      const rows = await machine({}, { [path]: text })
      const found = rows.find(one => one.name === 'container')
      expect(found).toMatchObject({ ok: true, found: expect.stringContaining(name) })
      expect(found?.found).toContain('same directory, user namespace')
      expect(isUsable(rows)).toBe(true)
    })
  }

  test('tells root from a user, and the version of a host from its own', async () => {
    const foundOf = async (name: string, changes: Partial<Probes>) =>
      (await machine(changes)).find(one => one.name === name)?.found
    expect(await foundOf('user', { uid: 0 })).toMatch(/^root.*other users/)
    expect(await foundOf('user', { uid: 1000 })).toMatch(/^uid 1000/)
    const host = async () => ({ ...HOST, version: 7 })
    expect(await foundOf('host version', { host })).toBe('it speaks 7, this program 1')
    expect(await foundOf('container', {})).toBe('none')
  })

  test('names the modules that domains of a host lack, which the other domains have', async () => {
    const missingModules = [
      { domid: 1, module: 'xen-gntalloc' },
      { domid: 7, module: 'xen-evtchn' },
    ] as const
    const rows = await machine(
      { host: async () => ({ ...HOST, missingModules }) },
      { '/sys/hypervisor/type': undefined },
    )
    expect(rows.filter(({ name }) => name === 'host module')).toEqual([
      {
        group: 'host',
        name: 'host module',
        ok: false,
        found: 'xen-gntalloc is not loaded in domain 1',
        fix: 'interdom host load 1 xen-gntalloc',
      },
      expect.objectContaining({ fix: 'interdom host load 7 xen-evtchn' }),
    ])
    expect(isUsable(rows)).toBe(true)
  })

  test('names the packages that the test bed lacks', async () => {
    const rows = await machine({
      testbed: () => 'The test bed needs qemu: not found in PATH. Install it: apt-get install qemu',
    })
    expect(missing(rows)).toEqual(['Xen in QEMU'])
    expect(fixOf(rows, 'Xen in QEMU')).toContain('apt-get install qemu')
    expect(isUsable(rows)).toBe(true)
  })

  test('tells what connect() would take, and is no worse for its taking nothing', async () => {
    const rows = await machine({ choice: () => ({ trouble: 'name a host' }) })
    expect(missing(rows)).toEqual(['platform'])
    expect(fixOf(rows, 'platform')).toBe('name a host')
    expect(isUsable(rows)).toBe(true)
  })

  test('finds a machine unusable that has neither Xen nor a place for a host', async () => {
    const trouble = 'belongs to uid 0'
    const rows = await machine(
      { host: async () => ({ ...HOST, running: undefined, trouble }) },
      { '/sys/hypervisor/type': undefined },
    )
    expect(isUsable(rows)).toBe(false)
  })

  test('prints each row with its fix under its group', async () => {
    const text = doctorText(await machine({ nodeVersion: 'v18.1.0' }))
    expect(text).toMatch(/^Needed by everything\n {2}missing {2}Node\.js +v18\.1\.0\n +→ install/)
    expect(text.match(/^\S/gm)).toHaveLength(5)
  })
})

describe('the directory of a host', () => {
  /** What the doctor itself says of a directory. */
  async function seen(directory: string, as: readonly string[] = []): Promise<DoctorRow> {
    const [program = '', ...words] = [...as, process.execPath, MAIN, 'doctor', '--json']
    const { stdout } = await run(program, [...words, '--host', directory]).catch(error => error)
    const rows = JSON.parse(stdout) as DoctorRow[]
    const found = rows.find(({ name }) => name === 'host directory')
    if (!found) throw new Error(stdout)
    return found
  }

  function place(): string {
    const directory = mkdtempSync(join(tmpdir(), 'interdom-doctor-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    return directory
  }

  test('may be there or not be there yet, far below one that is', async () => {
    const directory = place()
    for (const path of [directory, join(directory, 'a/b/c')]) {
      expect(await seen(path)).toEqual({
        group: 'host',
        name: 'host directory',
        ok: true,
        found: path,
      })
    }
    chmodSync(directory, 0o711)
    expect(await seen(directory)).toMatchObject({ ok: true })
  })

  test('must be a directory that others cannot enter', async () => {
    const directory = place()
    const file = join(directory, 'file')
    writeFileSync(file, '')
    expect(await seen(file)).toMatchObject({ ok: false, found: `${file}: not a directory` })
    expect(await seen(join(file, 'below'))).toMatchObject({ ok: false })
    chmodSync(directory, 0o755)
    expect(await seen(directory)).toMatchObject({
      ok: false,
      found: `${directory}: others may enter it: chmod 0700`,
      fix: 'choose another directory with --host, or in INTERDOM_HOST',
    })
  })

  test('must be our own, or made where we may write', async ({ skip }) => {
    if (process.getuid?.() !== 0) skip('needs root, to be another user (setpriv)')
    const directory = place()
    const user = ['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups']
    await run('setpriv', [
      ...user.slice(1),
      process.execPath,
      '-e',
      `require('fs').statSync('${MAIN}')`,
    ]).catch(() => skip(`uid ${UID} cannot read ${MAIN}`))
    expect(await seen(directory, user)).toMatchObject({
      ok: false,
      found: `${directory}: belongs to uid 0`,
    })
    chmodSync(directory, 0o755)
    const below = join(directory, 'new')
    expect(await seen(below, user)).toMatchObject({
      ok: false,
      found: `${below}: EACCES at ${directory}, where it would be made`,
    })
  })
})
