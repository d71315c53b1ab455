/**
 * The host: what its calls cost, as ratios to bare round trips on the same kind of socket in the
 * same run; pinned, with client and server on one core and on two. Needs taskset (util-linux).
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
  { place: 'same core', server: 0, client: 0, cycleAtMost: 1.5 },
  { place: 'cross core', server: 1, client: 0, cycleAtMost: 1.6 },
]

export async function run() {
  const results = []
  for (const { place, server, client, cycleAtMost } of PLACES) {
    const measured = await measure(server, client)
    results.push(
      {
        title: `cycle of one page against 4 bare round trips, ${place}`,
        atMost: cycleAtMost,
        ...measured.cycle,
      },
      { title: `512 untouched pages against one, ${place}`, atMost: 2.5, ...measured.pages },
      {
        title: `cycle with 100,000 live grants against none, ${place}`,
        atMost: 1.3,
        ...measured.live,
      },
    )
  }
  return results
}

async function measure(serverCore, clientCore) {
  const folder = mkdtempSync(join(tmpdir(), 'interdom-bench-'))
  const echoPath = join(folder, 'echo')
  const machine = await startHost({ gntallocLimit: 200_000 })
  const echo = spawn(process.execPath, [program('echo-server.mjs'), echoPath], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(echo.stdout, 'data')
  for (const pid of [machine.pid, echo.pid]) pin(pid, serverCore)
  const client = spawn(
    'taskset',
    ['-c', String(clientCore), process.execPath, '--expose-gc', program('host-client.mjs')],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...machine.env(1), ECHO: echoPath },
    },
  )
  let output = ''
  client.stdout.on('data', data => {
    output += data
  })
  const [code] = await once(client, 'close')
  echo.kill('SIGKILL')
  await machine.close()
  rmSync(folder, { recursive: true, force: true })
  if (code !== 0) throw new Error(`the client ended with ${code}`)
  return JSON.parse(output)
}

function pin(pid, core) {
  execFileSync('taskset', ['-acp', String(core), String(pid)], { stdio: 'ignore' })
}
