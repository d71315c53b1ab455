import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { entryPoint } from '../../src/base/entry-point.ts'
import { ChildPuppet } from '../../src/conformance/child-puppet.ts'
import { LocalPuppet } from '../../src/conformance/local-puppet.ts'
import type { Puppet } from '../../src/conformance/puppet.ts'

const TOY = new URL('./fixtures/toy-platform.mjs', import.meta.url).href
const SOURCES = new URL('../../src/conformance/child-puppet.ts', import.meta.url).href
const MAIN = fileURLToPath(entryPoint(SOURCES, './puppet-main.js'))

const startChild = (): Promise<ChildPuppet> =>
  ChildPuppet.start({
    command: [process.execPath, MAIN, TOY],
    env: { ...process.env, TOY_DOMID: '7' },
  })

async function startLocal(): Promise<Puppet> {
  const { platform } = await import(TOY)
  return new LocalPuppet(platform(), process.pid, () => {})
}

for (const [name, start] of [
  ['in process', startLocal],
  ['in a child', startChild],
] as const) {
  test(`a puppet ${name} performs every request`, async () => {
    const puppet = await start()
    const options = { access: 'readwrite', nonblock: true } as const
    expect(await puppet.open('gntdev', options)).toBe(-ERRNO.ENOENT)
    const fd = await puppet.open('evtchn', options)
    expect(await puppet.ioctl(fd, 77, Uint8Array.of(1, 2))).toEqual({
      result: 77,
      bytes: Uint8Array.of(2, 1),
    })
    expect(await puppet.ioctl(fd, 5)).toEqual({ result: 5, bytes: new Uint8Array() })
    expect(await puppet.ioctlAt(fd, 5, 4096)).toBe(-ERRNO.EFAULT)
    await expect(puppet.ioctl(fd, 1, new Uint8Array(3))).rejects.toThrow('short')

    expect(await puppet.ready(fd, 10)).toBe(-ERRNO.ETIMEDOUT)
    expect(await puppet.read(fd, 4)).toMatchObject({ result: -ERRNO.EAGAIN })
    expect(await puppet.write(fd, Uint8Array.of(5, 6))).toBe(2)
    expect(await puppet.poll(fd)).toEqual({ in: true, out: true, err: false })
    expect(await puppet.ready(fd, 10)).toBe(0)
    expect(await puppet.read(fd, 4)).toEqual({ result: 2, bytes: Uint8Array.of(5, 6) })

    const address = await puppet.alloc(5000)
    await puppet.poke(address + 4998, Uint8Array.of(1, 2))
    expect(await puppet.peek(address + 4998, 2)).toEqual(Uint8Array.of(1, 2))
    expect(await puppet.protect(address, 4096, 0)).toBe(0)
    expect(await puppet.munmap(address, 5000)).toBe(0)
    const mapping = { offset: 0, length: 4096, prot: 3, flags: 1 }
    expect(await puppet.mmap(fd, mapping)).toBeGreaterThan(0)

    const copy = await puppet.dup(fd)
    await puppet.close(fd)
    await expect(puppet.poll(fd)).rejects.toThrow(`no descriptor ${fd}`)
    await puppet.reset()
    await expect(puppet.poll(copy)).rejects.toThrow(`no descriptor ${copy}`)
    await puppet.kill()
  })
}

test('a child knows who it is, and a dead one says so', async () => {
  const killed = await startChild()
  expect(killed.domid).toBe(7)
  const hanging = killed.open('evtchn', { access: 'read', nonblock: true })
  await expect(hanging).resolves.toBeGreaterThan(0)
  const waiting = killed.ready(await hanging, 60_000)
  await Promise.all([expect(waiting).rejects.toThrow('SIGKILL'), killed.kill()])
  await expect(killed.alloc(1)).rejects.toThrow('is dead')
  await killed.kill()

  const exited = await startChild()
  await exited.exit()
  await expect(exited.alloc(1)).rejects.toThrow('is dead')
})

test('a child that cannot start is an error, not a wait', async () => {
  const missing = ChildPuppet.start({ command: [process.execPath, MAIN, 'file:///nowhere.mjs'] })
  await expect(missing).rejects.toThrow('exit status 1')
  await expect(ChildPuppet.start({ command: ['/nowhere/at/all'] })).rejects.toThrow('ENOENT')
})
