import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { CallSocket } from '../../src/host/call-socket.ts'
import { controlPath } from '../../src/host/directory.ts'
import { Doors } from '../../src/host/doors.ts'
import { EventLoop } from '../../src/host/event-loop.ts'
import { HostLog } from '../../src/host/host-log.ts'
import { receiveFramed, receiveRoom, sendFramed } from '../../src/host/message-socket.ts'
import { BodyWriter, OP } from '../../src/host/wire.ts'
import { close } from '../../src/native/files.ts'
import { sendMessage } from '../../src/native/messages.ts'
import {
  type DescriptorLimit,
  getDescriptorLimit,
  setDescriptorLimit,
} from '../../src/native/process.ts'
import * as sockets from '../../src/native/sockets.ts'
import { startHost } from '../../src/start-host.ts'

const STANDARD_DESCRIPTORS = 3

function knock(path: string): number {
  const client = sockets.socket(sockets.SOCK_SEQPACKET)
  expect(sockets.connect(client, path)).toBe(0)
  onTestFinished(() => {
    close(client)
  })
  return client
}

describe('a door', () => {
  test('at which nobody can even be turned away is left alone, and opens again', () => {
    const directory = mkdtempSync(join(tmpdir(), 'interdom-door-'))
    const path = join(directory, 'door')
    const loop = new EventLoop()
    const doors = new Doors(loop, new HostLog())
    const admitted: number[] = []
    const door = doors.open(path, client => admitted.push(client))
    onTestFinished(() => {
      for (const client of admitted) close(client)
      doors.shut(door, path)
      doors.close()
      loop.close()
      rmSync(directory, { recursive: true })
    })
    knock(path)
    const limit = getDescriptorLimit() as DescriptorLimit
    // Not even a descriptor that was let go can be had again.
    setDescriptorLimit({ ...limit, soft: STANDARD_DESCRIPTORS })
    let seen: number
    try {
      seen = loop.wait(0)
      loop.handler(0)?.()
    } finally {
      setDescriptorLimit(limit)
    }
    expect([seen, admitted.length]).toEqual([1, 0])
    // Whoever knocked is still there, and does not keep the loop awake.
    expect(loop.wait(0)).toBe(0)
    expect(doors.pausedMs).toBeGreaterThan(0)
    while (doors.pausedMs > 0) {
      expect(loop.wait(Math.ceil(doors.pausedMs))).toBe(0)
      doors.tick()
      if (doors.pausedMs === Number.POSITIVE_INFINITY) break
    }
    expect(loop.wait(0)).toBe(1)
    loop.handler(0)?.()
    expect(admitted).toHaveLength(1)
  })
})

describe('a connection for orders', () => {
  test('takes no descriptors, where the kernel can refuse them', async ({ skip }) => {
    const pair = sockets.socketpair(sockets.SOCK_SEQPACKET)
    if (typeof pair === 'number') throw new Error(`socketpair: ${pair}`)
    const refused = sockets.refuseDescriptors(pair[0])
    for (const end of pair) close(end)
    if (refused < 0) skip('SO_PASSRIGHTS came with Linux 6.16')
    await using machine = await startHost()
    const client = knock(controlPath(machine.directory))
    const order = new BodyWriter().text('{"order":"status"}').head(OP.admin, 0, 1, 0)
    expect(sendFramed(client, order)).toBe(0)
    expect(receiveFramed(client, receiveRoom())).toMatchObject({ result: 0 })
    expect(sendMessage(client, new Uint8Array(16), [0])).toBe(-ERRNO.EPERM)
    expect(sendFramed(client, order)).toBe(0)
    expect(receiveFramed(client, receiveRoom())).toMatchObject({ result: 0 })
    // A large order would travel in one.
    const socket = new CallSocket(controlPath(machine.directory))
    socket.begin(OP.admin).text('{"order":"status"}')
    expect(socket.call().result).toBe(0)
    socket.begin(OP.admin).text('x'.repeat(100_000))
    expect(socket.call().result).toBeLessThan(0)
    expect(socket.death?.fix).toContain('takes no order as long as this')
    socket.close()
  })
})
