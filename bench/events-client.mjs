/**
 * The measuring half of events.mjs, in a process that can be pinned: runs what it is told to by
 * its arguments, and prints the figures as JSON.
 */
import { execFileSync, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { EVTCHN_UNBIND, encodeU32 } from '../dist/abi/evtchn.js'
import { connectHost } from '../dist/host/index.js'
import { connect } from '../dist/index.js'
import { close, pipe } from '../dist/native/files.js'
import { SOCK_STREAM, socketpair } from '../dist/native/sockets.js'
import { bareTrips } from './bare-trips.mjs'
import { median } from './measure.mjs'

const CHANNELS = 1000
const NO_PORT = encodeU32(9999)
const program = name => fileURLToPath(new URL(name, import.meta.url))

const xen = await connect()
const measurements = { wake, channels, death, storm }
const report = {}
for (const name of process.argv.slice(2)) report[name] = await measurements[name]()
process.stdout.write(JSON.stringify(report))
process.exit(0)

/** A round trip of notifications between two event loops, and of bytes through two FIFOs. */
async function wake() {
  const peer = await answeringPeer()
  const sides = { loaded: peer.notify, bare: peer.sendByte }
  const times = { loaded: [], bare: [] }
  for (let round = -30; round < 61; round++) {
    for (const side of inTurn(round)) {
      const taken = await each(sides[side], 200)
      if (round >= 0) times[side].push(...taken)
    }
  }
  peer.end()
  return figures(times)
}

/**
 * Many channels with one peer: our ends of those that another process offers, and both ends in one
 * process. Against round trips of nothing, and against as many calls of the host that are refused
 * at once. The figure is that of a warm program: the first rounds of a process run in the
 * interpreter, while the compiler works on the same core, and take several times as long. What the
 * collector does about channels of the rounds before is in it.
 */
async function channels() {
  const offerer = fork(program('events-offerer.mjs'), [], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, INTERDOM_DOMID: '2' },
  })
  pin(offerer.pid, process.env.PEER_CORE)
  const third = await connect({ domid: 3 })
  const device = xen.open('evtchn', { nonblock: true })
  const bare = bareTrips(process.env.ECHO)
  let offered = []
  const sides = {
    ours: () => offered.map(port => xen.evtchn.bindInterdomain({ domid: 2, port })),
    both: () => bindAll(third),
    bare: () => bare(CHANNELS),
    refused: () => {
      for (let i = 0; i < CHANNELS; i++) device.ioctl(EVTCHN_UNBIND, NO_PORT)
    },
  }
  const times = { ours: [], both: [], bare: [], refused: [] }
  for (let round = -12; round < 31; round++) {
    offerer.send({ offer: CHANNELS })
    ;[offered] = await once(offerer, 'message')
    // What the offerer does after it has told us, on the host's core perhaps, is no part of this.
    bare(CHANNELS)
    for (const side of round % 2 ? Object.keys(sides) : Object.keys(sides).reverse()) {
      const start = process.hrtime.bigint()
      const ports = sides[side]()
      if (round >= 0) times[side].push(Number(process.hrtime.bigint() - start))
      for (const port of ports ?? []) port.close()
    }
  }
  offerer.disconnect()
  device.close()
  third.close()
  const { ours, both, bare: trips, refused } = times
  const twice = refused.map(ns => 2 * ns)
  return {
    calls: figures({ loaded: ours, bare: refused }),
    trips: figures({ loaded: ours, bare: trips }),
    both: figures({ loaded: both, bare: twice }),
  }
}

function bindAll(other) {
  const ports = []
  for (let i = 0; i < CHANNELS; i++) {
    const near = xen.evtchn.bindUnbound({ to: other.domid })
    ports.push(near, other.evtchn.bindInterdomain({ domid: 1, port: near.port }))
  }
  return ports
}

/** From the SIGKILL of a process to the event that it left armed; to the end of its socket. */
async function death() {
  const times = { loaded: [], bare: [] }
  for (let round = -2; round < 15; round++) {
    for (const side of inTurn(round)) {
      const ns = side === 'loaded' ? await killArmed() : await killConnected()
      if (round >= 0) times[side].push(ns)
    }
  }
  return figures(times)
}

async function killArmed() {
  const bell = xen.evtchn.bindUnbound({ to: 2 })
  const child = await victim([String(bell.port)])
  const event = bell.pending()
  const start = process.hrtime.bigint()
  child.kill('SIGKILL')
  await event
  const ns = Number(process.hrtime.bigint() - start)
  bell.close()
  return ns
}

async function killConnected() {
  const [ours, theirs] = socketpair(SOCK_STREAM)
  const socket = new Socket({ fd: ours })
  const child = await victim([], theirs)
  close(theirs)
  socket.resume()
  const ended = once(socket, 'end')
  const start = process.hrtime.bigint()
  child.kill('SIGKILL')
  await ended
  const ns = Number(process.hrtime.bigint() - start)
  socket.destroy()
  return ns
}

async function victim(words, fd = 'ignore') {
  const child = fork(program('events-victim.mjs'), words, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', fd],
    env: { ...process.env, INTERDOM_DOMID: '2' },
  })
  pin(child.pid, process.env.PEER_CORE)
  await once(child, 'message')
  child.disconnect()
  return child
}

/** A call and a wake, each by itself, while a client breaks the protocol, and while it rests. */
async function storm() {
  // While this one lives its domain does, and the hostile one finds a door.
  const guard = await connectHost({ domid: 66 })
  const path = `${process.env.INTERDOM_HOST}/domain-66`
  const foe = spawn(process.env.HOSTILE, [path, '1', String(2 ** 40)], { stdio: 'ignore' })
  pin(foe.pid, process.env.HOST_CORE)
  const device = xen.open('evtchn', { nonblock: true })
  const peer = await answeringPeer()
  const beats = {
    call: () => device.ioctl(EVTCHN_UNBIND, NO_PORT),
    wake: peer.notify,
  }
  const times = { call: { loaded: [], bare: [] }, wake: { loaded: [], bare: [] } }
  for (let round = -3; round < 20; round++) {
    for (const side of inTurn(round)) {
      foe.kill(side === 'loaded' ? 'SIGCONT' : 'SIGSTOP')
      for (const [name, beat] of Object.entries(beats)) {
        const taken = await each(beat, 200)
        if (round >= 0) times[name][side].push(...taken)
      }
    }
  }
  if (foe.exitCode !== null) throw new Error(`the hostile client ended with ${foe.exitCode}`)
  foe.kill('SIGKILL')
  peer.end()
  device.close()
  guard.close()
  return { call: figures(times.call), wake: figures(times.wake) }
}

/** Nanoseconds on the wall, since what is measured is mostly waiting. */
async function each(beat, count) {
  const times = []
  for (let i = 0; i < count; i++) {
    const start = process.hrtime.bigint()
    await beat()
    times.push(Number(process.hrtime.bigint() - start))
  }
  return times
}

/** A process of domain 2 that answers our notifications and bytes, each with one. */
async function answeringPeer() {
  const [[theirIn, ourOut], [ourIn, theirOut]] = [pipe(), pipe()]
  const peer = fork(program('events-peer.mjs'), [], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', theirIn, theirOut],
    env: { ...process.env, INTERDOM_DOMID: '2' },
  })
  pin(peer.pid, process.env.PEER_CORE)
  const bell = xen.evtchn.bindUnbound({ to: 2 })
  peer.send({ port: bell.port })
  await once(peer, 'message')
  let heard
  const fifo = new Socket({ fd: ourIn, writable: false }).on('data', () => heard())
  const events = bell.events()
  return {
    notify: async () => {
      const next = events.next()
      bell.notify()
      await next
    },
    sendByte: async () => {
      const next = new Promise(resolve => {
        heard = resolve
      })
      writeSync(ourOut, 'x')
      await next
    },
    end: () => {
      peer.kill('SIGKILL')
      fifo.destroy()
      bell.close()
      for (const fd of [theirIn, theirOut, ourOut]) close(fd)
    },
  }
}

function inTurn(round) {
  return round % 2 === 0 ? ['loaded', 'bare'] : ['bare', 'loaded']
}

function figures({ loaded, bare }) {
  const loadedNs = Math.round(median(loaded))
  const bareNs = Math.round(median(bare))
  return { loadedNs, bareNs, ratio: Math.round((loadedNs / bareNs) * 100) / 100 }
}

function pin(pid, core) {
  execFileSync('taskset', ['-acp', String(core), String(pid)], { stdio: 'ignore' })
}
