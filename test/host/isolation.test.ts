import { execFileSync } from 'node:child_process'
import { chmodSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { giveOrder } from '../../src/host/orders.ts'
import { startHost } from '../../src/start-host.ts'
import { build } from './c-program.ts'

const UID = 54_321
const { EPERM, EACCES, EINVAL, ENOENT, ENOTCONN, EFAULT, EIO, GNTST_general_error } = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EACCES: 13,
  EFAULT: 14,
  EINVAL: 22,
  ENOTCONN: 107,
  /** A status of GRANT_COPY: no entry for this domain. */
  GNTST_general_error: -1,
}

const ROUTES: readonly (readonly [route: string, refusals: readonly number[], what: string])[] = [
  ['list', [EACCES], 'listing the directory'],
  ['control', [EACCES], 'giving an order'],
  ['domain', [EACCES], 'becoming a process of the other domain'],
  ['proc_fd', [EACCES], 'listing the descriptors of the host'],
  ['proc_fd_0', [EACCES], 'reopening a descriptor of the host'],
  ['mem', [EACCES], 'opening the memory of the host'],
  ['map_files_of_host', [EACCES, EPERM], 'opening what the host has mapped'],
  ['pidfd_getfd', [EPERM], 'taking a descriptor of the host'],
  ['vm_read', [EPERM], 'reading the memory of the host'],
  ['map', [EINVAL], 'mapping a page meant for another domain'],
  ['bind', [EINVAL], 'binding to a port that waits for another domain'],
  ['peer', [ENOTCONN], 'asking for the way to a port of another domain'],
  ['copy', [GNTST_general_error], 'copying from a page meant for another domain'],
  ['chunk', [ENOENT], 'asking for memory by its number'],
  ['grant_rw', [EINVAL], 'mapping a read-only grant writable'],
  ['map_rw', [EPERM], 'mapping the descriptor of a read-only page writable'],
  ['mprotect', [EACCES], 'making a read-only mapping writable'],
  ['mremap', [EACCES], 'making a copy of a read-only mapping writable'],
  ['write', [EPERM], 'writing to the descriptor of a read-only page'],
  ['truncate', [EPERM], 'cutting the memory off'],
  ['punch_hole', [EPERM], 'punching a hole into a read-only page'],
  ['remove', [EACCES, EPERM], 'removing a read-only page from its file'],
  ['populate', [EFAULT, EINVAL], 'faulting a read-only page in for writing'],
  ['vm_write', [EFAULT], 'writing to a read-only page by process_vm_writev'],
  ['proc_mem', [EIO, EFAULT, EACCES], 'writing to a read-only page by /proc/self/mem'],
  ['reopen_map', [EPERM, EACCES], 'mapping a read-only page through a reopened descriptor'],
  ['reopen_write', [EPERM, EACCES], 'writing to a read-only page through a reopened descriptor'],
  [
    'map_files',
    [EPERM, EACCES, ENOENT],
    'writing to a read-only page through /proc/self/map_files',
  ],
]

describe('another user, given domain 2, is refused', () => {
  const found = new Map<string, number>()
  let untouched = false

  beforeAll(async () => {
    if (process.getuid?.() !== 0) {
      throw new Error('this test needs root, to run a process as another user (setpriv)')
    }
    await using machine = await startHost()
    giveOrder(machine.directory, { order: 'domain', domid: 2, uid: UID })
    using one = await machine.connect({ domid: 1 })
    using foreign = one.share({ to: 3, writable: true })
    using bell = one.evtchn.bindUnbound({ to: 3 })
    using readonly = one.share({ to: 2 })
    const program = build('intruder')
    chmodSync(dirname(program), 0o755)
    const refs = [foreign.grants[0]?.ref, bell.port, readonly.grants[0]?.ref].map(String)
    const words = [program, machine.directory, String(machine.pid), ...refs]
    const ids = [`--reuid=${UID}`, `--regid=${UID}`, '--clear-groups']
    const said = execFileSync('setpriv', [...ids, ...words], { encoding: 'utf8' })
    for (const line of said.trim().split('\n')) {
      const [route = '', errno] = line.split(' ')
      found.set(route, Number(errno))
    }
    untouched = readonly.bytes.every(byte => byte === 0)
  })

  for (const [route, refusals, what] of ROUTES) {
    test(what, () => {
      expect(refusals).toContain(found.get(route))
    })
  }

  test('and has changed nothing', () => {
    expect(untouched).toBe(true)
    expect([...found.keys()].sort()).toEqual(ROUTES.map(([route]) => route).sort())
  })
})

test('a host is refused a user that is none', async () => {
  const machine = await startHost()
  onTestFinished(() => machine.close())
  for (const uid of [-1, 1.5]) {
    expect(() => giveOrder(machine.directory, { order: 'domain', domid: 2, uid })).toThrow('no uid')
  }
  expect(readFileSync(`/proc/${machine.pid}/status`, 'utf8')).toContain('State')
})
