import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import * as libc from '../../src/native/libc.ts'
import { closeAfterEach, own, ownPair } from './fds.ts'

closeAfterEach()

/** A child has none of its own up there. */
const FIRST = 400

/** Descriptors from FIRST on that a child of this process finds itself with. */
function inherited(): number[] {
  const list = "process.stdout.write(require('fs').readdirSync('/proc/self/fd').join(' '))"
  const stdout = execFileSync(process.execPath, ['-e', list], { encoding: 'utf8' })
  return stdout
    .split(' ')
    .map(Number)
    .filter(fd => fd >= FIRST)
}

/** One of every kind that can be made here, by the call that makes it. */
function makeAll(directory: string): number[] {
  const file = own(libc.open(join(directory, 'f'), libc.O_RDWR | libc.O_CREAT))
  const place = own(libc.open(directory, libc.O_RDONLY))
  const [here, there] = ownPair(libc.socketpair(libc.SOCK_SEQPACKET))
  const listener = own(libc.socket(libc.SOCK_SEQPACKET))
  libc.bind(listener, join(directory, 's'))
  libc.listen(listener, 1)
  const client = own(libc.socket(libc.SOCK_SEQPACKET))
  libc.connect(client, join(directory, 's'))
  libc.sendMessage(here, Uint8Array.of(1), [file])
  const message = libc.receiveMessage(there, new Uint8Array(1))
  if (typeof message === 'number') throw new Error(`refused: ${message}`)
  return [
    file,
    place,
    own(libc.openat(place, 'f', libc.O_RDONLY)),
    own(libc.dup(file)),
    own(libc.memfd('interdom test')),
    ...ownPair(libc.pipe()),
    own(libc.eventfd(0)),
    own(libc.epoll()),
    here,
    there,
    listener,
    client,
    own(libc.accept(listener)),
    ...message.fds.map(own),
  ]
}

test('no descriptor of any kind reaches a child', () => {
  const directory = mkdtempSync(join(tmpdir(), 'interdom-native-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  // Takes every low number, so that what is made now cannot be mistaken for the child's own.
  for (;;) if (own(libc.open('/dev/null', libc.O_RDONLY)) >= FIRST) break
  const fds = makeAll(directory)
  expect(fds.every(fd => fd >= FIRST)).toBe(true)
  expect(new Set(fds).size).toBe(15)
  const FD_CLOEXEC = 1
  expect(fds.map(fd => libc.descriptorFlags(fd))).toEqual(fds.map(() => FD_CLOEXEC))
  expect(inherited()).toEqual([])
})
