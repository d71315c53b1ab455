import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test as base, describe, expect } from 'vitest'

const PROJECT = fileURLToPath(new URL('../..', import.meta.url))
const MAIN = join(PROJECT, 'dist/cli/main.js')

import { giveOrder } from '../../src/host/index.ts'

interface Outcome {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** No platform but the one that a test names. */
function cleanEnv(): NodeJS.ProcessEnv {
  const {
    INTERDOM_PLATFORM: _platform,
    INTERDOM_HOST: _host,
    INTERDOM_DOMID: _domid,
    NODE_OPTIONS: _options,
    NODE_V8_COVERAGE: _coverage,
    ...env
  } = process.env
  return env
}

function execute(file: string, words: string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const options = { env: { ...cleanEnv(), ...env } }
  return new Promise(resolve => {
    execFile(file, words, options, (error, out, err) => {
      const code = typeof error?.code === 'number' ? error.code : error ? -1 : 0
      resolve({ code, out, err })
    })
  })
}

const interdom = (...words: string[]) => execute(process.execPath, [MAIN, ...words])

interface Fixture {
  /** A directory for a host, which is stopped at the end. */
  readonly directory: string
}

const test = base.extend<Fixture>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the pattern
  directory: async ({}, use) => {
    const directory = mkdtempSync(join(tmpdir(), 'interdom-test-'))
    await use(directory)
    await interdom('host', 'stop', '--dir', directory)
    rmSync(directory, { recursive: true, force: true })
  },
})

/** A shell on a pipe, driven a command at a time as a script would. */
class DrivenShell {
  readonly child: ChildProcessWithoutNullStreams
  #seen = ''
  #wake: () => void = () => undefined

  constructor(directory: string, domid: number) {
    const words = [MAIN, 'shell', '--domid', String(domid), '--host', directory]
    this.child = spawn(process.execPath, words, { env: cleanEnv() })
    this.child.stdout.setEncoding('latin1').on('data', text => {
      this.#seen += text
      this.#wake()
    })
    this.child.stderr.pipe(process.stderr)
  }

  /** What it says up to the next prompt, after a command if one is given. */
  async say(command?: string): Promise<string> {
    if (command !== undefined) this.child.stdin.write(`${command}\n`)
    while (!this.#seen.endsWith('\n> ')) {
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    const said = this.#seen.slice(0, -'\n> '.length)
    this.#seen = ''
    return said
  }

  /** Asks until the answer is as wanted; the test's own timeout is the bound. */
  async until(command: string, wanted: RegExp): Promise<string> {
    for (;;) {
      const said = await this.say(command)
      if (wanted.test(said)) return said
    }
  }

  end(): Promise<number | null> {
    const ended = new Promise<number | null>(resolve => this.child.once('exit', resolve))
    this.child.stdin.end()
    return ended
  }
}

function anonymous(text: string): string {
  return text
    .replace(/0x[0-9a-f]+/g, 'PTR')
    .replace(/\((\d{6,}),/g, '(ADDRESS,')
    .replace(/id [ 0-9a-f]{16}/g, 'id ID')
}

/** Waits until a domain has nothing granted any more: its kernel looks once a second. */
async function nothingOf(directory: string, domid: number): Promise<void> {
  const prefix = `domain ${domid}: `
  for (;;) {
    const left = giveOrder(directory, { order: 'leftovers' }) as string[]
    if (!left.some(line => line.startsWith(prefix))) return
    await new Promise(resolve => setImmediate(resolve))
  }
}

test('the compiled command may be executed, as npx does', async () => {
  expect(await execute(MAIN, ['--version'])).toMatchObject({ code: 0, err: '' })
})

describe('two shells on a host', () => {
  test('share a page to the byte, and each learns of the other’s SIGKILL', async ({
    directory,
  }) => {
    const a = new DrivenShell(directory, 1)
    const greeting = await a.say()
    expect(greeting).toMatch(new RegExp(`\n PID ${a.child.pid?.toString(16)}\n$`))
    const b = new DrivenShell(directory, 2)
    await b.say()
    expect(anonymous(await a.say('add 2'))).toBe(
      'Created shared page with domain 2, grant #8. Mapped locally at 0=PTR\n',
    )
    expect(anonymous(await b.say('map 1 8'))).toBe('Mapped grant 1.8 as 0=PTR\n')
    expect(anonymous(await a.say('hello'))).toBe('00(ADDRESS,0): id ID n=11000000 b=hello\n')
    expect(anonymous(await b.say('show'))).toBe('00(ADDRESS,0): id ID n=11000000 b=hello\n')
    b.child.kill('SIGKILL')
    await a.until('show', /n=10000000/)
    const c = new DrivenShell(directory, 2)
    await c.say()
    await c.say('map 1 8')
    a.child.kill('SIGKILL')
    const address = /\((\d+),/.exec(await c.until('show', /n=01000000 b=hello/))?.[1]
    expect(await c.say('ddel 0')).toBe('Unhooked mapped grant at offset 0\n')
    expect(anonymous(await c.say(`unmap ${address}`))).toBe('Unmapped page at PTR\n')
    // The survivor let go, so what the dead had granted goes with their kernel's next look.
    await nothingOf(directory, 1)
    expect(await c.say('map 1 8')).toBe('Could not map grant 1.8: Invalid argument (map failed)\n')
    expect(await c.end()).toBe(0)
  })

  test('take commands that all came at once, and text of any bytes', async ({ directory }) => {
    const shell = new DrivenShell(directory, 1)
    await shell.say()
    shell.child.stdin.end(Buffer.from('add 2\n\xff\xfe\nshow', 'latin1'))
    let out = ''
    shell.child.stdout.on('data', text => {
      out += text
    })
    await new Promise(resolve => shell.child.once('close', resolve))
    expect(out.split('\n> ').slice(1).map(anonymous)).toEqual([
      '00(ADDRESS,0): id ID n=10000000 b=\xff\xfe\n',
      '00(ADDRESS,0): id ID n=10000000 b=\xff\xfe\n',
      '',
    ])
  })
})

describe('the demo', () => {
  base('plays with two processes, ends, and leaves nothing behind', async () => {
    const place = mkdtempSync(join(tmpdir(), 'interdom-test-'))
    const script = `out=$("$0" "$1" demo); code=$?; echo "$out"; exit $code`
    const words = ['-c', script, process.execPath, MAIN]
    const { code, out } = await execute('sh', words, { TMPDIR: place })
    expect(out).toMatch(/7\. SIGKILL\n {3}ok: .*the byte is 0\n/)
    expect(out).toMatch(/Everything was as it should be\.\n$/)
    expect(code).toBe(0)
    expect(readdirSync(place)).toEqual([])
    rmSync(place, { recursive: true })
    const pids = [...out.matchAll(/process (\d+)/g)].map(([, pid]) => Number(pid))
    expect(pids.length).toBeGreaterThanOrEqual(3)
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow(/ESRCH/)
  })

  base('exits 1 when the other process lies', async () => {
    const program = `
      import { demoCommand } from ${JSON.stringify(join(PROJECT, 'dist/cli/demo.js'))}
      import { startPeer } from ${JSON.stringify(join(PROJECT, 'dist/cli/demo-peer.js'))}
      const liar = async (...words) => {
        const peer = await startPeer(...words)
        const map = async () => 'good bye'
        return { pid: peer.pid, domid: peer.domid, map, kill: () => peer.kill() }
      }
      await demoCommand(liar).parseAsync(['node', 'demo'])
    `
    const words = ['--input-type=module', '-e', program]
    const { code, out } = await execute(process.execPath, words)
    expect(out).toMatch(/3\. .*\n {3}FAILED: .*expected "hello from domain 1", saw "good bye"/)
    expect(out).toMatch(/That is not as it should be\.\n$/)
    expect(code).toBe(1)
  })
})

describe('host', () => {
  test('starts, tells of itself, and stops', async ({ directory }) => {
    const started = await interdom('host', 'start', '--dir', directory, '--json')
    expect(JSON.parse(started.out)).toMatchObject({ directory, kernel: 'linux-6.12', domains: [] })
    const again = await interdom('host', 'start', '--dir', directory)
    expect([again.code, again.err]).toEqual([
      1,
      expect.stringMatching(/^interdom host start: EADDR/),
    ])
    const status = await interdom('host', 'status', '--dir', directory)
    expect(status.out).toMatch(new RegExp(`^host in ${directory}: pid \\d+, kernel linux-6.12\n$`))
    const stopped = await interdom('host', 'stop', '--dir', directory)
    expect(stopped.out).toMatch(/^stopped the host in /)
    const gone = await interdom('host', 'status', '--dir', directory)
    expect(gone.code).toBe(1)
    expect(gone.err).toMatch(/no host runs there: "interdom host start"/)
  })
})

describe('run', () => {
  test('gives a program its domain and passes its exit code on', async ({ directory }) => {
    const run = (...words: string[]) =>
      interdom('run', '--domid', '7', '--host', directory, ...words)
    const index = join(PROJECT, 'dist/index.js')
    const program = `
      import { connect } from ${JSON.stringify(index)}
      await using xen = await connect()
      console.log(xen.domid, xen.platform.name, xen.share({ to: 1 }).grants.length)
      process.exitCode = 9
    `.replace('await using', 'const')
    const { code, out } = await run('--', process.execPath, '--input-type=module', '-e', program)
    expect([code, out]).toEqual([9, '7 host 1\n'])
    expect((await run('sh', '-c', 'kill -9 $$')).code).toBe(137)
    const missing = await run('no-such-program')
    expect([missing.code, missing.err]).toEqual([
      127,
      'interdom run: no-such-program: not found; is it in PATH?\n',
    ])
  })
})

describe('the command line', () => {
  const wrong: [string, string[], RegExp][] = [
    ['no command', [], /^Usage: interdom/],
    ['an unknown command', ['fly'], /unknown command 'fly'[\s\S]*Usage: interdom/],
    ['an unknown option', ['shell', '--fly'], /unknown option '--fly'[\s\S]*Usage: interdom shell/],
    ['a domid that none can be', ['shell', '--domid', '40000'], /0 to 32751[\s\S]*Usage:/],
    [
      'a platform that there is not',
      ['shell', '--platform', 'kvm'],
      /xen, linux, host[\s\S]*Usage:/,
    ],
    [
      'no domid on a host',
      ['shell', '--platform', 'host'],
      /--domid 1[\s\S]*Usage: interdom shell/,
    ],
    [
      'run without a domid',
      ['run', 'true'],
      /--domid <n>' not specified[\s\S]*Usage: interdom run/,
    ],
    ['run without a program', ['run', '--domid', '1'], /missing required argument[\s\S]*Usage:/],
    ['too many words', ['doctor', 'now'], /too many arguments[\s\S]*Usage: interdom doctor/],
    ['host without an order', ['host'], /Usage: interdom host/],
    [
      'an unknown kernel',
      ['host', 'start', '--kernel', 'bsd'],
      /linux-6.1, linux-6.12[\s\S]*Usage:/,
    ],
    [
      'a module that there is not',
      ['host', 'unload', '1', 'gntalloc'],
      /xen-gntalloc, xen-gntdev, xen-evtchn[\s\S]*Usage: interdom host unload/,
    ],
    ['a module without a domain', ['host', 'load', 'xen-gntdev'], /missing required[\s\S]*Usage:/],
  ]
  for (const [what, words, message] of wrong) {
    base(`shows the usage on stderr and exits 2 for ${what}`, async () => {
      const { code, out, err } = await interdom(...words)
      expect([code, out]).toEqual([2, ''])
      expect(err).toMatch(message)
    })
  }

  const hostCommands = ['host', 'host start', 'host stop', 'host load', 'host unload']
  const commands = ['demo', 'shell', 'run', 'doctor', ...hostCommands, 'testbed']
  for (const command of commands) {
    base(`has help for ${command}`, async () => {
      const { code, out } = await interdom(...command.split(' '), '--help')
      expect(code).toBe(0)
      expect(out).toMatch(new RegExp(`^Usage: interdom ${command} `))
    })
  }

  base('prints the doctor’s rows as JSON', async () => {
    const { out } = await interdom('doctor', '--json')
    const rows = JSON.parse(out) as { name: string; ok: boolean }[]
    expect(rows.find(({ name }) => name === 'Node.js')?.ok).toBe(true)
  })

  base('ends quietly when nobody reads it any more', async () => {
    const script = 'set -o pipefail; "$0" "$1" doctor | true'
    const { code, err } = await execute('bash', ['-c', script, process.execPath, MAIN])
    expect([code, err]).toEqual([0, ''])
  })
})
