import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { test as base, describe, expect } from 'vitest'
import type { HostStatus } from '../../src/host/administration.ts'
import { controlPath, recordPath } from '../../src/host/directory.ts'
import { giveOrder } from '../../src/host/orders.ts'
import { spawnHost } from '../../src/host/spawn-host.ts'

const run = promisify(execFile)
const MAIN = new URL('../../dist/cli/main.js', import.meta.url).pathname
const CTRL_C = '\u0003'
const CTRL_D = '\u0004'

const test = base.extend<{ directory: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the pattern
  directory: async ({}, use) => {
    const directory = mkdtempSync(join(tmpdir(), 'interdom-s-'))
    await use(directory)
    if (existsSync(controlPath(directory))) giveOrder(directory, { order: 'stop' })
    rmSync(directory, { recursive: true, force: true })
  },
})

/** A program on a terminal of its own: script(1) gives it one. */
class Terminal {
  readonly child: ChildProcessWithoutNullStreams
  seen = ''
  #wake: () => void = () => undefined

  constructor(command: string) {
    // The shell is script's and not the machine's SHELL: some keep their place before the command,
    // and then answer a Ctrl-C with 130 whatever it exits with.
    const env = { ...process.env, SHELL: '/bin/sh' }
    this.child = spawn('script', ['-qec', command, '/dev/null'], { env })
    this.child.stdout.setEncoding('utf8').on('data', text => {
      this.seen += text
      this.#wake()
    })
  }

  type(text: string): void {
    this.child.stdin.write(text)
  }

  /** Waits until it has said this; the test's own timeout is the bound. */
  async hear(words: RegExp): Promise<void> {
    while (!words.test(this.seen)) {
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  async exitCode(): Promise<number | null> {
    const [code] = await once(this.child, 'exit')
    return code as number | null
  }
}

function quoted(...words: string[]): string {
  return words.map(word => `'${word}'`).join(' ')
}

function interdom(...words: string[]): string {
  return quoted(process.execPath, MAIN, ...words)
}

function pidOf(directory: string): number {
  return (giveOrder(directory, { order: 'status' }) as HostStatus).pid
}

/** Waits until a process is no more. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0)
    } catch {
      return
    }
    await new Promise(setImmediate)
  }
}

describe('Ctrl-C on a terminal', () => {
  test('ends no host that was started there, nor does closing it', async ({ directory }) => {
    const start = interdom('host', 'start', '--dir', directory)
    const terminal = new Terminal(`${start}; echo started; exec cat`)
    await terminal.hear(/^started/m)
    terminal.type(CTRL_C)
    await terminal.exitCode()
    expect(pidOf(directory)).toBeGreaterThan(0)
  })

  test('gives up the line of a shell, and Ctrl-D leaves it', async ({ directory }) => {
    const terminal = new Terminal(`exec ${interdom('shell', '--domid', '1', '--host', directory)}`)
    await terminal.hear(/dom1> /)
    terminal.type('nonsense')
    await terminal.hear(/nonsense/)
    terminal.type(CTRL_C)
    await terminal.hear(/\^C[\s\S]*dom1> /)
    terminal.type('add 2\r')
    await terminal.hear(/Created shared page with domain 2/)
    const exit = terminal.exitCode()
    terminal.type(CTRL_D)
    expect(await exit).toBe(0)
  })

  test('reaches a program under interdom run once', async ({ directory }) => {
    const program =
      'let n = 0; process.on("SIGINT", () => console.log(["once", "twice"][n++])); ' +
      'process.stdin.on("data", () => process.exit(7)); console.log("ready")'
    const words = [
      'run',
      '--domid',
      '1',
      '--host',
      directory,
      '--',
      process.execPath,
      '-e',
      program,
    ]
    const terminal = new Terminal(`exec ${interdom(...words)}`)
    await terminal.hear(/^ready/m)
    terminal.type(CTRL_C)
    await terminal.hear(/^(\^C)?once/m)
    const exit = terminal.exitCode()
    terminal.type('x\r')
    expect(await exit).toBe(7)
    expect(terminal.seen).not.toContain('twice')
  })

  test('ends a command that waits for a host which does not answer', async ({ directory }) => {
    await run(process.execPath, [MAIN, 'host', 'start', '--dir', directory])
    const pid = pidOf(directory)
    process.kill(pid, 'SIGSTOP')
    try {
      const child = spawn(process.execPath, [MAIN, 'host', 'status', '--dir', directory])
      const exited = once(child, 'exit')
      // Blocked in recvmsg(2), of which this is the number.
      const number = process.arch === 'x64' ? '47 ' : '212 '
      const call = () => readFileSync(`/proc/${child.pid}/syscall`, 'utf8')
      while (!call().startsWith(number)) await new Promise(setImmediate)
      child.kill('SIGINT')
      expect(await exited).toEqual([null, 'SIGINT'])
    } finally {
      process.kill(pid, 'SIGCONT')
    }
  })
})

describe('a daemon', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`tidies up and leaves on ${signal}, and stays on SIGHUP`, async ({ directory }) => {
      await run(process.execPath, [MAIN, 'host', 'start', '--dir', directory])
      const pid = pidOf(directory)
      process.kill(pid, 'SIGHUP')
      expect(pidOf(directory)).toBe(pid)
      process.kill(pid, signal)
      await gone(pid)
      expect(existsSync(recordPath(directory))).toBe(false)
      expect(readdirSync(directory).sort()).toEqual(['host.log', 'lock'])
    })
  }

  test('leaves by itself when nobody comes for its idle time', async ({ directory }) => {
    const child = await spawnHost({ directory, daemon: true, idleMs: 50 })
    child.ref()
    if (child.exitCode === null) expect(await once(child, 'exit')).toEqual([0, null])
    expect(readdirSync(directory).sort()).toEqual(['host.log', 'lock'])
  })
})
