import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { PROT_NONE } from '../../src/abi/mman.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { compileCPuppet, startCPuppet } from '../../src/conformance/c-puppet.ts'
import type { ChildPuppet } from '../../src/conformance/child-puppet.ts'
import { PROT_RW, Region } from '../../src/conformance/region.ts'
import {
  futexWait,
  interruptEvery,
  lseek,
  move,
  sendSigio,
} from '../../src/conformance/system-calls.ts'

const folder = mkdtempSync(join(tmpdir(), 'interdom-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('a machine without a compiler is told what to install', async () => {
  const { PATH: path } = process.env
  process.env['PATH'] = '/nowhere'
  onTestFinished(() => void Object.assign(process.env, { PATH: path }))
  const compiled = compileCPuppet(folder)
  await expect(compiled).rejects.toThrow(/gcc is not in PATH\n.*apt-get install .*gcc libc6-dev/)
})

const hasCompiler = spawnSync('gcc', ['--version']).status === 0

/** Without Xen: the devices are not there, memory and processes are. */
describe.skipIf(!hasCompiler)('the puppet in C', () => {
  let program = ''
  beforeAll(async () => {
    program = await compileCPuppet(folder)
  })

  async function start(): Promise<{ puppet: ChildPuppet; page: Region }> {
    const puppet = await startCPuppet(program, 7)
    onTestFinished(() => puppet.discard())
    return { puppet, page: new Region(puppet, await puppet.alloc(PAGE_SIZE), 1) }
  }

  test('says who it is, and refuses what it does not know', async () => {
    const { puppet } = await start()
    expect(puppet.domid).toBe(7)
    const options = { access: 'readwrite', nonblock: true } as const
    expect(await puppet.open('gntdev', options)).toBe(-ERRNO.ENOENT)
    await expect(puppet.poll(1)).rejects.toThrow('no descriptor 1')
    await expect(puppet.syscall('reboot' as never)).rejects.toThrow('no such system call')
  })

  test('carries bytes of any length and value', async () => {
    const { puppet } = await start()
    const bytes = Uint8Array.from({ length: 70_001 }, (_, i) => (i * 7) % 256)
    const address = await puppet.alloc(bytes.length)
    for (const length of [0, 1, 2, 3, 4, bytes.length]) {
      await puppet.poke(address, bytes.subarray(0, length))
      expect(await puppet.peek(address, length)).toEqual(bytes.subarray(0, length))
    }
    await puppet.reset()
    expect(await puppet.load(address)).toBe('SIGSEGV')
  })

  test('survives faults and tells of them', async () => {
    const { page } = await start()
    await page.store(0, 5)
    expect(await page.protect(PROT_NONE)).toBe(0)
    expect(await page.load(0)).toBe('SIGSEGV')
    expect(await page.tryStore(0, 1)).toBe('SIGSEGV')
    await expect(page.byte(0)).rejects.toThrow('SIGSEGV')
    expect(await page.protect(PROT_RW)).toBe(0)
    expect(await page.tryStore(0, 6)).toBe('stored')
    expect(await page.load(0)).toBe(6)
  })

  test('makes calls beyond the seam', async () => {
    const { puppet, page } = await start()
    await page.store(0, 5)
    const moved = await move(page, new Region(puppet, await puppet.alloc(PAGE_SIZE), 1))
    expect(await moved.byte(0)).toBe(5)
    expect(await page.load(0)).toBe('SIGSEGV')
    await moved.store(0, 0)
    expect(await futexWait(moved, 'private')).toBe(-ERRNO.ETIMEDOUT)
    expect(await lseek({ puppet, fd: 0 } as never, 0)).toBe(-ERRNO.ESPIPE)
  })

  test('is interrupted, and answers all the same', async () => {
    const { puppet, page } = await start()
    await interruptEvery(puppet, 1)
    for (let i = 0; i < 200; i++) await page.store(i, i)
    await interruptEvery(puppet, 0)
    expect(await page.byte(199)).toBe(199)
    expect(await puppet.signals()).toBe(0)
  })

  test('looks at a byte when it is told so by a signal', async () => {
    const { puppet, page } = await start()
    const pair = new Region(puppet, await puppet.alloc(PAGE_SIZE), 1)
    expect(await puppet.syscall('pipe2', pair.address, 0)).toBe(0)
    const [end = 0, , , , other = 0] = await pair.bytes(0, 5)
    await sendSigio({ puppet, fd: end })
    await puppet.watch(page.address)
    for (const byte of [3, 4]) {
      await page.store(0, byte)
      expect(await puppet.syscall('write', other, page.address, 1)).toBe(1)
      await page.store(0, 9)
      expect(await puppet.seen()).toBe(byte)
    }
  })

  test('forks puppets that outlive it and can be ended', async () => {
    const { puppet, page } = await start()
    await page.store(0, 5)
    const first = await puppet.fork()
    const second = await puppet.fork()
    await expect(puppet.fork()).rejects.toThrow('forked 2 times')
    expect(new Set([puppet.pid, first.pid, second.pid]).size).toBe(3)
    await page.in(first).store(0, 6)
    expect([await page.byte(0), await page.in(second).byte(0)]).toEqual([5, 5])
    await puppet.exit()
    expect(await page.in(first).byte(0)).toBe(6)
    await first.kill()
    await expect(page.in(first).byte(0)).rejects.toThrow('dead')
    expect(await page.in(second).byte(0)).toBe(5)
    await second.exit()
    await expect(page.in(second).byte(0)).rejects.toThrow('dead')
  })
})
