import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import * as libc from '../../src/native/libc.ts'
import { closeAfterEach, disown, own, ownPair } from './fds.ts'

closeAfterEach()

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const bytesOf = (words: string) => new TextEncoder().encode(words)

/** What came, its descriptors owned by the test. */
function received(fd: number, into: Uint8Array, flags = 0): libc.ReceivedMessage {
  const message = libc.receiveMessage(fd, into, flags)
  if (typeof message === 'number') throw new Error(`refused: ${message}`)
  for (const fd of message.fds) own(fd)
  return message
}

test('messages keep their bounds and carry descriptors', () => {
  const [here, there] = ownPair(libc.socketpair(libc.SOCK_SEQPACKET))
  const memory = own(libc.memfd('interdom test'))
  libc.ftruncate(memory, 4096)
  const [readEnd] = ownPair(libc.pipe())
  expect(libc.sendMessage(here, bytesOf('one'), [memory, readEnd])).toBe(3)
  expect(libc.sendMessage(here, bytesOf('two'))).toBe(3)
  const into = new Uint8Array(100)
  const first = received(there, into)
  expect(first).toMatchObject({ length: 3, truncated: false, fdsTruncated: false })
  expect(text(into.subarray(0, 3))).toBe('one')
  expect(first.fds.length).toBe(2)
  expect(libc.sizeOf(first.fds[0]!)).toBe(4096)
  expect(received(there, into)).toMatchObject({ length: 3, fds: [] })
  expect(text(into.subarray(0, 3))).toBe('two')
  expect(libc.receiveMessage(there, into, libc.MSG_DONTWAIT)).toBe(-ERRNO.EAGAIN)
})

test('a message that is longer than the buffer says so', () => {
  const [here, there] = ownPair(libc.socketpair(libc.SOCK_SEQPACKET))
  libc.send(here, bytesOf('longer'))
  const into = new Uint8Array(4)
  expect(received(there, into)).toMatchObject({ length: 4, truncated: true })
  expect(text(into)).toBe('long')
})

test('a message may outgrow the stage and carry as many descriptors as Linux lets', () => {
  const [here, there] = ownPair(libc.socketpair(libc.SOCK_SEQPACKET))
  const long = new Uint8Array(100_000).map((_, i) => i)
  const one = own(libc.eventfd(0))
  const many = new Array<number>(libc.MESSAGE_FDS_MAX).fill(one)
  expect(libc.sendMessage(here, long, many)).toBe(long.length)
  const into = new Uint8Array(long.length)
  expect(received(there, into).fds.length).toBe(libc.MESSAGE_FDS_MAX)
  expect(Buffer.compare(into, long)).toBe(0)
  expect(() => libc.sendMessage(here, long, [...many, one])).toThrow(RangeError)
})

test('descriptors that find no number are lost, and that is told', () => {
  const [here, there] = ownPair(libc.socketpair(libc.SOCK_SEQPACKET))
  const one = own(libc.eventfd(0))
  libc.sendMessage(here, bytesOf('x'), [one, one, one])
  const limit = libc.getDescriptorLimit()
  if (typeof limit === 'number') throw new Error(`refused: ${limit}`)
  // The next two free numbers are all that is left.
  const [a, b] = [libc.dup(one), libc.dup(one)]
  libc.close(a)
  libc.close(b)
  libc.setDescriptorLimit({ ...limit, soft: b + 1 })
  const message = libc.receiveMessage(there, new Uint8Array(1))
  libc.setDescriptorLimit(limit)
  if (typeof message === 'number') throw new Error(`refused: ${message}`)
  for (const fd of message.fds) own(fd)
  expect(message).toMatchObject({ length: 1, fds: [a, b], fdsTruncated: true })
})

test('a connection knows who is at the other end, and when it has gone', () => {
  const path = mkdtempSync(join(tmpdir(), 'interdom-native-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  const name = join(path, 's')
  const listener = own(libc.socket(libc.SOCK_SEQPACKET | libc.SOCK_NONBLOCK))
  const client = own(libc.socket(libc.SOCK_SEQPACKET))
  expect(libc.connect(client, name)).toBe(-ERRNO.ENOENT)
  expect(libc.bind(listener, name)).toBe(0)
  expect(libc.connect(client, name)).toBe(-ERRNO.ECONNREFUSED)
  expect(libc.listen(listener, 4)).toBe(0)
  expect(libc.accept(listener)).toBe(-ERRNO.EAGAIN)
  expect(libc.connect(client, name)).toBe(0)
  const server = own(libc.accept(listener, libc.SOCK_NONBLOCK))
  expect(libc.peerCredentials(server)).toEqual({
    pid: process.pid,
    uid: process.getuid?.(),
    gid: process.getgid?.(),
  })
  expect(libc.receive(server, new Uint8Array(1))).toBe(-ERRNO.EAGAIN)
  expect(libc.shutdown(client, libc.SHUT_RDWR)).toBe(0)
  expect(libc.receive(server, new Uint8Array(1))).toBe(0)
  expect(libc.send(server, bytesOf('x'))).toBe(-ERRNO.EPIPE)
})

test('a path that a socket address cannot hold is ENAMETOOLONG', () => {
  const fd = own(libc.socket(libc.SOCK_STREAM))
  const ENAMETOOLONG = 36
  expect(libc.bind(fd, `/${'a'.repeat(libc.SOCKET_PATH_MAX)}`)).toBe(-ENAMETOOLONG)
  expect(libc.connect(fd, `/${'ä'.repeat(libc.SOCKET_PATH_MAX / 2)}b`)).toBe(-ENAMETOOLONG)
})

test('options are set and read', () => {
  const [here, there] = ownPair(libc.socketpair(libc.SOCK_SEQPACKET))
  expect(libc.setSocketOption(here, libc.SOL_SOCKET, libc.SO_SNDBUF, 16384)).toBe(0)
  expect(libc.getSocketOption(here, libc.SOL_SOCKET, libc.SO_SNDBUF)).toBe(32768)
  expect(libc.getSocketOption(there, libc.SOL_SOCKET, libc.SO_ERROR)).toBe(0)
  libc.close(there)
  disown(there)
})
