/**
 * Events of a host, pinned, with both ends on one core and on two: what a notification, a channel
 * and a death cost, and what a hostile neighbour makes of it. Needs taskset (util-linux) and gcc.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startHost } from '../dist/start-host.js'

const program = name => fileURLToPath(new URL(name, import.meta.url))
const PLACES = [
  { place: 'same core', client: 0, peer: 0, host: 0 },
  { place: 'cross core', client: 0, peer: 1, host: 1 },
]
const HOSTILE_SOURCE = program('../test/host/c-client/hostile.c')

export async function run() {
  const folder = mkdtempSync(join(tmpdir(), 'interdom-bench-'))
  try {
    const results = []
    for (const at of PLACES) results.push(...(await plainRows(at, folder)))
    results.push(...(await stormRows(folder)))
    return results
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function plainRows(at, folder) {
  const { place } = at
  const echoPath = join(folder, `echo ${place}`)
  const echo = spawn(process.execPath, [program('echo-server.mjs'), echoPath], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(echo.stdout, 'data')
  pin(echo.pid, at.host)
  const { wake, channels, death } = await measure(at, ['wake', 'channels', 'death'], {
    ECHO: echoPath,
  })
  echo.kill('SIGKILL')
  return [
    { title: `notify to wake against a byte in a FIFO, ${place}`, atMost: 1.15, ...wake },
    {
      title: `1,000 channels with one peer, ms beyond 1,000 refused calls, ${place}`,
      atMost: 5,
      ...beyond(channels.calls),
    },
    {
      title: `1,000 channels with one peer, ms beyond 1,000 bare round trips, ${place}`,
      atMost: 5,
      ...beyond(channels.trips),
    },
    {
      title: `both ends of 1,000 channels in one process, ms beyond 2,000 refused calls, ${place}`,
      atMost: 10,
      ...beyond(channels.both),
    },
    {
      title: `SIGKILL to the peer's event against the end of a unix socket, ${place}`,
      atMost: 1.2,
      ...death,
    },
  ]
}

function beyond({ loadedNs, bareNs }) {
  return { loadedNs, bareNs, ms: Math.round((loadedNs - bareNs) / 1e4) / 100 }
}

/** The hostile client has the host's core, so that only the host can make others wait for him. */
async function stormRows(folder) {
  const hostile = join(folder, 'hostile')
  execFileSync('gcc', ['-std=gnu11', '-O1', '-o', hostile, HOSTILE_SOURCE])
  const at = { client: 0, peer: 0, host: 1 }
  const { storm } = await measure(at, ['storm'], { HOSTILE: hostile })
  return [
    { title: 'a call while a client breaks the protocol, against quiet', atMost: 2, ...storm.call },
    { title: 'a wake while a client breaks the protocol, against quiet', atMost: 2, ...storm.wake },
  ]
}

async function measure({ client, peer, host }, names, env) {
  const machine = await startHost()
  pin(machine.pid, host)
  const words = ['-c', String(client), process.execPath, program('events-client.mjs'), ...names]
  const child = spawn('taskset', words, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      ...machine.env(1),
      ...env,
      PEER_CORE: String(peer),
      HOST_CORE: String(host),
    },
  })
  let output = ''
  child.stdout.on('data', data => {
    output += data
  })
  const [code] = await once(child, 'close')
  await machine.close()
  if (code !== 0) throw new Error(`the client ended with ${code}`)
  return JSON.parse(output)
}

function pin(pid, core) {
  execFileSync('taskset', ['-acp', String(core), String(pid)], { stdio: 'ignore' })
}
