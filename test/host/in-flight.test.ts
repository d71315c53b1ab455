import { execFile, execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, type TestContext } from 'vitest'
import { domainPath } from '../../src/host/directory.ts'
import { receiveFramed, receiveRoom, sendFramed } from '../../src/host/message-socket.ts'
import { BodyWriter, OP, WIRE_MAGIC, WIRE_VERSION } from '../../src/host/wire.ts'
import { close } from '../../src/native/files.ts'
import * as sockets from '../../src/native/sockets.ts'
import { test } from './machine-test.ts'

const PROGRAM = fileURLToPath(new URL('./fixtures/in-flight.mjs', import.meta.url))
const ENTRY = fileURLToPath(new URL('../../dist/index.js', import.meta.url))
/** Nobody of importance; not root, whom the system does not limit so. */
const UID = 65_432
const AS_USER = [`--reuid=${UID}`, `--regid=${UID}`, '--clear-groups']
const DESCRIPTORS = 256

const run = promisify(execFile)

/** What a neighbour met where all descriptors of a user may have been left on their way. */
async function met(skip: TestContext['skip'], who: 'client' | 'program'): Promise<string> {
  if (process.getuid?.() !== 0)
    throw new Error('this test needs root, to be another user (setpriv)')
  try {
    execFileSync('setpriv', [
      ...AS_USER,
      process.execPath,
      '-e',
      `require('fs').statSync('${ENTRY}')`,
    ])
  } catch {
    skip(`uid ${UID} cannot read ${ENTRY}`)
  }
  const limit = `--nofile=${DESCRIPTORS}:${DESCRIPTORS}`
  const words = [...AS_USER, 'prlimit', limit, process.execPath, PROGRAM, who]
  const { stdout } = await run('setpriv', words, {
    env: { ...process.env, HOME: '/tmp' },
    cwd: '/',
  })
  return stdout.trim()
}

describe('descriptors that were sent and not received', () => {
  test('are those of one answer: a client that leaves it unread gets no other', async ({
    machine,
  }) => {
    using one = await machine.connect({ domid: 1 })
    using _two = await machine.connect({ domid: 2 })
    const socket = sockets.socket(sockets.SOCK_SEQPACKET)
    expect(sockets.connect(socket, domainPath(machine.directory, 2))).toBe(0)
    const hello = new BodyWriter().u32(WIRE_MAGIC).u32(WIRE_VERSION).head(OP.hello, 0, 1, 0)
    for (let i = 0; i < 2; i++) expect(sendFramed(socket, hello)).toBe(0)
    // Answered after them, so that both have been looked at.
    one.share({ to: 2 }).close()
    const room = receiveRoom()
    const first = receiveFramed(socket, room)
    if (!first || typeof first === 'number') throw new Error(`no answer: ${first}`)
    expect(first.fds).toHaveLength(2)
    expect(receiveFramed(socket, room)).toBeUndefined()
    for (const fd of [...first.fds, socket]) close(fd)
  })

  test('by a client do not use up what the user of its host may have', async ({ skip }) => {
    expect(await met(skip, 'client')).toBe('connected')
  })

  test('by another program are named when they do', async ({ skip }) => {
    expect(await met(skip, 'program')).toMatch(
      /^ETOOMANYREFS: connect host: .*RLIMIT_NOFILE 256 descriptors sent by the user of the host and not received.*, 1 wanted.*; end the program/,
    )
  })
})
