import { randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  guestConfiguration,
  type Job,
  packPayload,
  prepareJob,
  readJob,
  removeJob,
  writeJob,
} from '../../src/testbed/job.ts'
import { memoryFor } from '../../src/testbed/memory.ts'

/** The unit in which dom0 reads the payload. */
const BLOCK = 64 * 1024
const job: Job = {
  commands: new Map([
    ['dom0', 'echo "a b"'],
    ['domu2', 'true'],
  ]),
  guests: 2,
  guestMemory: 400,
  guestKernelArgs: 'xen_gntalloc.limit=4',
  guestConfig: ['max_grant_frames = 8'],
}

describe('a job', () => {
  let host: string
  beforeEach(async () => {
    host = mkdtempSync(join(tmpdir(), 'interdom-job-'))
    await prepareJob(host)
    await writeJob(host, job)
  })
  afterEach(() => rmSync(host, { recursive: true }))

  const state = (name: string, text: string): void => writeFileSync(join(host, '.job', name), text)

  test('has a script for each command and a configuration for each guest', () => {
    const there = ['dom0', 'domu1', 'domu2', 'domu3'].flatMap(domain =>
      ['sh', 'cfg'].map(kind => `${domain}.${kind}`),
    )
    expect(there.filter(name => existsSync(join(host, '.job', name)))).toEqual([
      'dom0.sh',
      'domu1.cfg',
      'domu2.sh',
      'domu2.cfg',
    ])
    expect(readFileSync(join(host, '.job/dom0.sh'), 'utf8')).toBe('echo "a b"\n')
    expect(readFileSync(join(host, '.job/guests'), 'utf8')).toBe('2\n')
  })

  test('that dom0 said nothing of has not finished', () => {
    expect(readJob(host)).toEqual({ finished: false, failure: undefined, exits: new Map() })
  })

  test('that has finished tells the exit codes', () => {
    state('dom0.exit', '0\n')
    state('domu2.exit', '137\n')
    state('finished', 'done\n')
    const exits = new Map([
      ['dom0', 0],
      ['domu2', 137],
    ])
    expect(readJob(host)).toEqual({ finished: true, failure: undefined, exits })
  })

  test('whose machine could not be set up tells why', () => {
    state('failure', '122 domu1 did not get ready\n')
    expect(readJob(host).failure).toEqual({ exitCode: 122, reason: 'domu1 did not get ready' })
  })

  test('clears away what an earlier run has left, and nothing else', async () => {
    state('finished', 'done\n')
    writeFileSync(join(host, 'dom0.stdout'), 'old')
    writeFileSync(join(host, 'result.json'), "the user's")
    await prepareJob(host)
    expect(readJob(host).finished).toBe(false)
    expect(existsSync(join(host, 'dom0.stdout'))).toBe(false)
    expect(existsSync(join(host, 'result.json'))).toBe(true)
    await removeJob(host)
    expect(existsSync(join(host, '.job'))).toBe(false)
  })

  test('packs the payload from within its folder', async () => {
    mkdirSync(join(host, 'folder'))
    writeFileSync(join(host, 'folder/program.mjs'), '0')
    const archive = readFileSync(await packPayload(host, join(host, 'folder'), 1))
    expect(gunzipSync(archive.subarray(0, BLOCK)).includes('./program.mjs')).toBe(true)
  })

  test('packs what dom0 alone gets behind the rest', async () => {
    mkdirSync(join(host, 'folder/dom0'), { recursive: true })
    writeFileSync(join(host, 'folder/program.mjs'), '0')
    writeFileSync(join(host, 'folder/dom0/test.mjs'), '0')
    const archive = readFileSync(await packPayload(host, join(host, 'folder'), 1))
    expect(readFileSync(join(host, '.job/payload-blocks'), 'utf8')).toBe('1 1\n')
    const names = ['./program.mjs', './dom0/test.mjs']
    const all = gunzipSync(archive.subarray(0, BLOCK))
    expect(names.map(name => all.includes(name))).toEqual([true, false])
    const own = gunzipSync(archive.subarray(BLOCK))
    expect(names.map(name => own.includes(name))).toEqual([false, true])
  })

  test('packs the payload into a multiple of the step and says how much counts', async () => {
    const blocks = (): string => readFileSync(join(host, '.job/payload-blocks'), 'utf8')
    const megabyte = 1024 * 1024
    expect(statSync(await packPayload(host, undefined, megabyte)).size).toBe(megabyte)
    expect(blocks()).toBe('1 1\n')
    mkdirSync(join(host, 'folder'))
    // Zeros take no room in the archive, and all of theirs in a domain.
    for (const [content, counted] of [
      [Buffer.alloc(megabyte), '1 1\n'],
      [randomBytes(megabyte), '17 1\n'],
    ] as const) {
      writeFileSync(join(host, 'folder/large'), content)
      const archive = await packPayload(host, join(host, 'folder'), megabyte)
      expect(statSync(archive).size).toBe(2 * megabyte)
      expect(blocks()).toBe(counted)
    }
  })
})

test("a guest's configuration names what xl needs", () => {
  expect(guestConfiguration('domu2', job).split('\n')).toEqual(
    expect.arrayContaining([
      'name = "domu2"',
      'type = "pv"',
      'memory = 400',
      'tsc_mode = "native"',
      expect.stringMatching(
        /^extra = "console=hvc0 quiet interdom\.testbed=domu2 .*clocksource=tsc.* xen_gntalloc\.limit=4"$/,
      ),
      'on_crash = "destroy"',
      'max_grant_frames = 8',
    ]),
  )
})

describe('memory', () => {
  const megabyte = 1024 * 1024
  const sizes = { kernel: 55 * megabyte, root: 107 * megabyte, payload: 0 }

  test('of a domain holds its files twice and their archive', () => {
    expect(memoryFor(sizes, 0)).toEqual({ guest: 416, dom0: 544 })
  })

  test('of dom0 holds what the guests boot from', () => {
    expect(memoryFor(sizes, 1).dom0 - memoryFor(sizes, 0).dom0).toBeGreaterThanOrEqual(55 + 107)
  })

  test('grows with the payload', () => {
    const more = memoryFor({ ...sizes, payload: 64 * megabyte }, 1)
    expect(more.guest - memoryFor(sizes, 1).guest).toBe(128)
    expect(more.dom0 - memoryFor(sizes, 1).dom0).toBe(128)
  })
})
