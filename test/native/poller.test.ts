import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import {
  close,
  epoll,
  epollAdd,
  eventfd,
  O_NONBLOCK,
  O_RDONLY,
  open,
  POLLIN,
  pipe,
  read,
  statusFlags,
  write,
} from '../../src/native/libc.ts'
import { Poller, pollable } from '../../src/native/poller.ts'
import { closeAfterEach, disown, own, ownPair } from './fds.ts'

closeAfterEach()

const ONE = new Uint8Array(new BigUint64Array([1n]).buffer)

function poller(fd: number, onReadable: () => void): Poller {
  const made = new Poller(fd, onReadable)
  onTestFinished(() => made.close())
  return made
}

test('an armed poller calls once, and again when armed again', async () => {
  const fd = own(eventfd(0))
  let calls = 0
  for (let round = 1; round <= 3; round++) {
    await new Promise<void>(resolve => {
      const once = new Poller(fd, () => {
        calls++
        expect(read(fd, new Uint8Array(8))).toBe(8)
        once.close()
        resolve()
      })
      expect(once.arm()).toBe(0)
      expect(once.arm()).toBe(0)
      write(fd, ONE)
    })
    expect(calls).toBe(round)
  }
})

test('a promise that the call resolves goes on at once, though nothing else happens', async () => {
  // In a child, whose loop has nothing else to do: there the microtasks of a bare callback wait.
  const fixture = fileURLToPath(new URL('./fixtures/quiet-loop.mjs', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [fixture])
  expect(stdout).toBe('resumed before the timer\n')
})

test('a descriptor that is readable already is told of at once', async () => {
  const fd = own(eventfd(1))
  await new Promise<void>(resolve => expect(poller(fd, resolve).arm()).toBe(0))
})

test('an epoll descriptor over others can be watched', async () => {
  const [readEnd, writeEnd] = ownPair(pipe())
  const set = own(epoll())
  epollAdd(set, readEnd, POLLIN)
  await new Promise<void>(resolve => {
    expect(poller(set, resolve).arm()).toBe(0)
    write(writeEnd, ONE)
  })
})

test('a disarmed or closed poller does not call, whatever was under way', async () => {
  const fd = own(eventfd(1))
  const calls: string[] = []
  const disarmed = new Poller(fd, () => calls.push('disarmed'))
  disarmed.arm()
  disarmed.disarm()
  disarmed.close()
  const closed = new Poller(fd, () => calls.push('closed'))
  closed.arm()
  closed.close()
  closed.close()
  await new Promise<void>(resolve => poller(fd, resolve).arm())
  expect(calls).toEqual([])
  expect(() => closed.arm()).toThrow('closed')
  expect(() => closed.unref()).not.toThrow()
  expect(() => closed.disarm()).not.toThrow()
})

test('watching leaves the descriptor blocking or not, as it was', () => {
  for (const flags of [0, O_NONBLOCK]) {
    const fd = own(eventfd(0, flags))
    poller(fd, () => undefined).arm()
    expect(statusFlags(fd) & O_NONBLOCK).toBe(flags)
  }
})

test('what cannot be watched is a refusal and does not abort the process', () => {
  const file = own(open('/proc/self/exe', O_RDONLY))
  expect(pollable(file)).toBe(-ERRNO.EPERM)
  expect(poller(file, () => undefined).arm()).toBe(-ERRNO.EPERM)
  expect(poller(12345, () => undefined).arm()).toBe(-ERRNO.EBADF)
})

test('one descriptor has one poller', () => {
  const fd = own(eventfd(0))
  poller(fd, () => undefined).arm()
  expect(() => poller(fd, () => undefined).arm()).toThrow('already')
})

test('the number of a closed descriptor can be watched for another', async () => {
  const first = own(eventfd(0))
  const old = new Poller(first, () => expect.unreachable())
  old.arm()
  old.close()
  close(first)
  disown(first)
  const second = own(eventfd(1))
  expect(second).toBe(first)
  await new Promise<void>(resolve => poller(second, resolve).arm())
})

const ENDINGS = [
  'idle',
  'unref',
  'exit-armed',
  'unref-readable',
  'armed-at-exit',
  'worker-ends',
  'worker-terminated',
  'dropped',
  'throws',
]

for (const scenario of ENDINGS) {
  test(`a process with a poller ends as it should: ${scenario}`, async () => {
    const fixture = fileURLToPath(new URL('./fixtures/poller-exit.mjs', import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--expose-gc',
      fixture,
      scenario,
    ])
    expect(stdout).toBe(`${scenario} done\n`)
  })
}
