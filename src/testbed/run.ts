import type { ChildProcess } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { mkdir, readdir, realpath, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from './build.ts'
import { exitCodes, TestbedError, type TestbedErrorCode } from './failure.ts'
import { Follower } from './follower.ts'
import { findImage, type Image, manifestPath, recipeFor } from './image.ts'
import {
  type DomainName,
  domainNames,
  maxGuests,
  readJob,
  removeJob,
  streams,
  writeJob,
} from './job.ts'
import { defaultKernel } from './packages.ts'
import { cacheFolder } from './places.ts'
import { type Machine, startQemu } from './qemu.ts'
import { requireTools, runTools } from './tools.ts'

/** A line from a domain's command, or with `verbose` from the machine's console. */
export interface OutputLine {
  domain: DomainName | 'machine'
  stream: 'stdout' | 'stderr' | 'console'
  line: string
}

export interface RunOptions {
  /** Debian package of the kernel. */
  kernel?: string
  /** The node binary for the domains; this process's own when left out. */
  node?: string
  /** Shell text for dom0. */
  dom0?: string
  /** How many guests, or a shell text for each; a guest with an empty one only runs. */
  guests?: number | readonly string[]
  /** Folder that every domain gets as /payload. */
  payload?: string
  /** Folder that dom0 has as /host, for results and logs. */
  out?: string
  /** From QEMU's start to its end. */
  timeoutSeconds?: number
  /** More words for the kernel's command line in dom0, module parameters among them. */
  kernelArgs?: string
  /** The same for the guests. */
  guestKernelArgs?: string
  /** More words for Xen's command line. */
  xenArgs?: string
  /** More lines for the guests' xl configuration. */
  guestConfig?: readonly string[]
  /** Megabytes. */
  memory?: { dom0?: number; guest?: number }
  /** Passes the machine's console on to `onOutput` too. */
  verbose?: boolean
  onOutput?: (line: OutputLine) => void
  /** Is told of a build, should one be needed. */
  onStep?: (text: string) => void
  /** Ends the machine; `run` then rejects with the signal's reason. */
  signal?: AbortSignal
}

export interface DomainResult {
  stdout: string
  stderr: string
  /** Both, line by line in the order in which they arrived. */
  output: string
  /** Missing when the command did not end. */
  exitCode: number | undefined
}

export interface RunResult {
  /** That of the first command that failed, dom0 first; a code of the machine's own if it failed. */
  exitCode: number
  /** Why the machine failed, with the end of its console. */
  failure: TestbedError | undefined
  /** One for each domain that had a command. */
  domains: Partial<Record<DomainName, DomainResult>>
  /** From QEMU's start to its end. */
  seconds: number
  /** File with what Xen and dom0's kernel said. */
  console: string
  /** Folder that dom0 had as /host. */
  out: string
}

export const defaultTimeoutSeconds = 180
const pollMilliseconds = 100
const keptRuns = 10
const hour = 60 * 60 * 1000
const megabyte = 1024 * 1024
const consoleTailLines = 30

/**
 * Boots Xen, runs the commands at the same time once all guests are up, and ends the machine.
 * Builds the image first when there is none. What goes wrong with the machine is in the result's
 * `failure`, beside whatever output there was; a missing tool or image is thrown.
 */
export async function run(options: RunOptions = {}): Promise<RunResult> {
  requireTools('Running the test bed', runTools)
  const commands = commandsOf(options)
  const guests = guestCount(options.guests)
  if (options.payload !== undefined && !isFolder(options.payload)) {
    throw new TypeError(`the payload is not a folder: ${options.payload}`)
  }
  const image = await imageFor(options)
  options.signal?.throwIfAborted()
  const out = await outFolder(options.out)
  const guestMemory = options.memory?.guest ?? 384
  const payload = await writeJob(out, {
    commands,
    guests,
    payload: options.payload,
    guestMemory,
    guestKernelArgs: options.guestKernelArgs ?? '',
    guestConfig: options.guestConfig ?? [],
  })
  const payloadMemory = payload === undefined ? 0 : Math.ceil(statSync(payload).size / megabyte)
  // With guests, dom0 holds their kernel and files too.
  const dom0Memory = options.memory?.dom0 ?? (guests > 0 ? 768 : 512) + payloadMemory
  const machine: Machine = {
    images: image.folder,
    host: out,
    payload,
    console: join(out, 'console.log'),
    dom0Memory,
    // Xen keeps some memory of its own for each guest.
    guestMemory: guests * (guestMemory + 16),
    kernelArgs: options.kernelArgs ?? '',
    xenArgs: options.xenArgs ?? '',
  }
  try {
    return await runMachine(machine, commands, options)
  } finally {
    await removeJob(out)
  }
}

async function runMachine(
  machine: Machine,
  commands: ReadonlyMap<DomainName, string>,
  options: RunOptions,
): Promise<RunResult> {
  const seconds = options.timeoutSeconds ?? defaultTimeoutSeconds
  const domains: Partial<Record<DomainName, DomainResult>> = {}
  for (const domain of commands.keys()) {
    domains[domain] = { stdout: '', stderr: '', output: '', exitCode: undefined }
  }
  const followers = followAll(machine, domains, options)
  const start = performance.now()
  // The wrapper's limit is for the case that this process is gone; hence it is the later one.
  const child = startQemu(machine, join(machine.host, 'qemu.log'), seconds + 15)
  const poll = setInterval(() => {
    for (const follower of followers) follower.poll()
  }, pollMilliseconds)
  const timedOut = await untilEnd(child, seconds, options.signal).finally(() => clearInterval(poll))
  for (const follower of followers) follower.finish()
  options.signal?.throwIfAborted()
  const state = readJob(machine.host)
  for (const [domain, exitCode] of state.exits) {
    const result = domains[domain]
    if (result !== undefined) result.exitCode = exitCode
  }
  const failure = failureOf(state, timedOut ? seconds : undefined, machine)
  const failed = domainNames.map(name => domains[name]?.exitCode ?? 0).find(code => code !== 0)
  return {
    exitCode: failure?.exitCode ?? failed ?? 0,
    failure,
    domains,
    seconds: (performance.now() - start) / 1000,
    console: machine.console,
    out: machine.host,
  }
}

function followAll(
  machine: Machine,
  domains: Partial<Record<DomainName, DomainResult>>,
  { onOutput, verbose }: RunOptions,
): Follower[] {
  const followers: Follower[] = []
  for (const [domain, result] of Object.entries(domains) as [DomainName, DomainResult][]) {
    streams(domain).forEach((file, index) => {
      const stream = index === 0 ? 'stdout' : 'stderr'
      const follower: Follower = new Follower(join(machine.host, file), line => {
        result[stream] = follower.text
        result.output += `${line}\n`
        onOutput?.({ domain, stream, line })
      })
      followers.push(follower)
    })
  }
  if (verbose) {
    const report = (line: string): void =>
      onOutput?.({ domain: 'machine', stream: 'console', line: line.trimEnd() })
    followers.push(new Follower(machine.console, report))
  }
  return followers
}

/** Waits for QEMU's end, or brings it about; says whether the time ran out. */
async function untilEnd(
  child: ChildProcess,
  seconds: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  let timedOut = false
  const stop = (): void => {
    child.kill('SIGTERM')
  }
  const timer = setTimeout(() => {
    timedOut = true
    stop()
  }, seconds * 1000)
  signal?.addEventListener('abort', stop)
  process.once('exit', stop)
  try {
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', () => resolve())
    })
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', stop)
    process.removeListener('exit', stop)
  }
  return timedOut
}

function failureOf(
  state: ReturnType<typeof readJob>,
  secondsOut: number | undefined,
  machine: Machine,
): TestbedError | undefined {
  if (state.finished) return undefined
  const error = (code: TestbedErrorCode, text: string): TestbedError =>
    new TestbedError(code, `${text}\n${consoleTail(machine)}`)
  if (state.failure !== undefined) {
    const guest = state.failure.exitCode === exitCodes.guest
    const code = guest ? 'ERR_TESTBED_GUEST' : 'ERR_TESTBED_SETUP'
    return error(code, `the set-up of the machine failed: ${state.failure.reason}`)
  }
  if (secondsOut !== undefined) {
    return error('ERR_TESTBED_TIMEOUT', `the commands did not end within ${secondsOut} s`)
  }
  return error('ERR_TESTBED_STOPPED', 'the machine stopped before the commands ended')
}

function consoleTail(machine: Machine): string {
  const texts = [machine.console, join(machine.host, 'qemu.log')].map(path => {
    try {
      return readFileSync(path, 'utf8').replaceAll('\r', '').trimEnd()
    } catch {
      return ''
    }
  })
  const lines = texts
    .filter(text => text !== '')
    .join('\n')
    .split('\n')
  const tail = lines.slice(-consoleTailLines).map(line => `  ${line}`)
  return `The end of its console (all of it: ${machine.console}):\n${tail.join('\n')}`
}

function commandsOf({ dom0, guests }: RunOptions): Map<DomainName, string> {
  const texts = [dom0 ?? '', ...(Array.isArray(guests) ? (guests as string[]) : [])]
  const pairs = domainNames.map((name, index): [DomainName, string] => [name, texts[index] ?? ''])
  return new Map(pairs.filter(([, text]) => text !== ''))
}

function guestCount(guests: RunOptions['guests']): number {
  const count = typeof guests === 'number' ? guests : (guests?.length ?? 0)
  if (!Number.isInteger(count) || count < 0 || count > maxGuests) {
    throw new RangeError(`there can be 0 to ${maxGuests} guests, not ${count}`)
  }
  return count
}

async function imageFor(options: RunOptions): Promise<Image> {
  const recipe = await recipeFor(options.kernel ?? defaultKernel, options.node ?? process.execPath)
  const found = await findImage(join(cacheFolder(), 'images'), recipe)
  const { kernel, node, onStep } = options
  const image =
    found ??
    (await build({
      ...(kernel !== undefined && { kernel }),
      ...(node !== undefined && { node }),
      ...(onStep !== undefined && { onStep }),
    }))
  // A build removes images by how long they were out of use.
  const now = new Date()
  await utimes(manifestPath(image.folder), now, now)
  return image
}

async function outFolder(wanted: string | undefined): Promise<string> {
  if (wanted !== undefined) {
    await mkdir(wanted, { recursive: true })
    return await realpath(wanted)
  }
  const runs = join(cacheFolder(), 'runs')
  const name = `${new Date().toISOString().replaceAll(':', '')}-${process.pid}`
  await mkdir(join(runs, name), { recursive: true })
  for (const old of (await readdir(runs)).sort().slice(0, -keptRuns)) {
    // A run of another process may be at work in it.
    const { mtimeMs } = await stat(join(runs, old))
    if (Date.now() - mtimeMs > hour) await rm(join(runs, old), { recursive: true, force: true })
  }
  return await realpath(join(runs, name))
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}
