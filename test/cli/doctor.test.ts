import { describe, expect, test } from 'vitest'
import { doctorText, isUsable } from '../../src/cli/doctor.ts'
import { type DoctorRow, doctorRows, type Probes } from '../../src/cli/doctor-rows.ts'

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
