import type { ChildProcess } from 'node:child_process'
import { statSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, realpath, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from './build.ts'
import { consoleTail } from './console-tail.ts'
import { type DomainName, domainNames, maxGuests } from './domain-names.ts'
import { exitCodes, TestbedError, type TestbedErrorCode } from './failure.ts'
import { findImage, type Image, manifestPath, recipeFor } from './image.ts'
import {
  isRestored,
  type Job,
  packPayload,
  prepareJob,
  readJob,
  removeJob,
  writeJob,
} from './job.ts'
import {
  defaultTimeoutSeconds,
  keptRuns,
  maxTimeoutSeconds,
  payloadStep,
  pollMilliseconds,
} from './limits.ts'
import { memoryFor, sizesOf } from './memory.ts'
import { defaultKernel } from './package-names.ts'
import { cacheFolder } from './places.ts'
import { ended, type Machine, type Start, startQemu } from './qemu.ts'
import { type Output, type OutputLine, Recorder } from './recorder.ts'
import { snapshotFor } from './snapshot.ts'
import { buildTools, requireTools, runTools } from './tools.ts'

export interface RunOptions {
  /** Debian package of the kernel. */
  kernel?: string
  /** The node binary for the domains; this process's own when left out. */
  node?: string
  /** Shell text for dom0. */
  dom0?: string
  /** How many guests, or a shell text for each; a guest with an empty one only runs. */
  guests?: number | readonly string[]
  /** Folder that every domain gets as /payload; what it has in `dom0`, dom0 alone. */
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
  /**
   * Starts from the saved state of such a machine after its boot; takes it on first use. Each run
   * then begins with the same process ids, free references and random state.
   */
  snapshot?: boolean
  /** Passes the machine's console on to `onOutput` too. */
  verbose?: boolean
  onOutput?: (line: OutputLine) => void
  /** Is told of a build, should one be needed. */
  onStep?: (text: string) => void
  /** Ends the machine; `run` then rejects with the signal's reason. */
  signal?: AbortSignal
}

interface DomainResult extends Output {
  /** Missing when the command did not end. */
  exitCode: number | undefined
}

export interface RunResult {
  /** That of the first command that failed, dom0 first, or the machine's own if it failed. */
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

const hour = 60 * 60 * 1000

/**
 * Boots Xen, runs the commands at the same time once all guests are up, and ends the machine.
 * Builds the image first when there is none. What goes wrong with the machine is in the result's
 * `failure`, beside whatever output there was; a missing tool, image or snapshot is thrown.
 */
export async function run(options: RunOptions = {}): Promise<RunResult> {
  checkOptions(options)
  const commands = commandsOf(options)
  const guests = guestCount(options.guests)
  const image = await imageFor(options)
  options.signal?.throwIfAborted()
  const out = await outFolder(options.out)
  try {
    await prepareJob(out)
    const { payload, snapshot = false } = options
    const archive =
      payload === undefined && !snapshot
        ? undefined
        : await packPayload(out, payload, snapshot ? payloadStep : 1)
    const memory = { ...memoryFor(sizesOf(image.folder, archive), guests), ...options.memory }
    const job: Job = {
      commands,
      guests,
      guestMemory: memory.guest,
      guestKernelArgs: options.guestKernelArgs ?? '',
      guestConfig: options.guestConfig ?? [],
    }
    await writeJob(out, job)
    const machine: Machine = {
      images: image.folder,
      host: out,
      payload: archive,
      console: join(out, 'console.log'),
      dom0Memory: memory.dom0,
      // Xen keeps some memory of its own for each guest.
      guestMemory: guests * (memory.guest + 16),
      kernelArgs: options.kernelArgs ?? '',
      xenArgs: options.xenArgs ?? '',
    }
    const { onStep = () => undefined, signal } = options
    const seconds = options.timeoutSeconds ?? defaultTimeoutSeconds
    const start: Start = snapshot
      ? { snapshot: await snapshotFor(machine, job, { seconds, onStep, signal }) }
      : 'boot'
    return await runMachine(machine, start, [...commands.keys()], options)
  } finally {
    await removeJob(out)
  }
}

async function runMachine(
  machine: Machine,
  from: Start,
  commands: readonly DomainName[],
  options: RunOptions,
): Promise<RunResult> {
  const limit = options.timeoutSeconds ?? defaultTimeoutSeconds
  const recorder = new Recorder(machine.host, options.onOutput)
  for (const domain of commands) recorder.followDomain(domain)
  if (options.verbose === true) recorder.followConsole(machine.console)
  const start = performance.now()
  const child = startQemu(machine, limit, from)
  // Of a restored machine, the console is on its standard output too; the log has it.
  child.stdout?.resume()
  child.stdin?.on('error', () => undefined)
  const poll = setInterval(() => {
    recorder.poll()
    // Said again until it is heard: what comes before the state is restored gets lost.
    if (child.stdin !== null && !isRestored(machine.host)) child.stdin.write('\n')
  }, pollMilliseconds)
  const timedOut = await untilEnd(child, limit, options.signal).finally(() => clearInterval(poll))
  const seconds = (performance.now() - start) / 1000
  recorder.finish()
  options.signal?.throwIfAborted()
  const state = readJob(machine.host)
  const domains: RunResult['domains'] = {}
  for (const domain of commands) {
    domains[domain] = { ...recorder.outputOf(domain), exitCode: state.exits.get(domain) }
  }
  const failure =
    typeof from === 'object' && !isRestored(machine.host)
      ? await notRestored(machine, from)
      : failureOf(state, timedOut ? limit : undefined, machine)
  const failed = commands.map(domain => state.exits.get(domain) ?? 0).find(code => code !== 0)
  const exitCode = failure?.exitCode ?? failed ?? 0
  return { exitCode, failure, domains, seconds, console: machine.console, out: machine.host }
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
    await ended(child)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', stop)
    process.removeListener('exit', stop)
  }
  return timedOut
}

/** Whatever is wrong with a saved state, the next run does not meet it again. */
async function notRestored(machine: Machine, from: { snapshot: string }): Promise<TestbedError> {
  await rm(join(machine.images, from.snapshot), { force: true })
  const text = 'the machine did not go on from its saved state, which is removed: run it again'
  return new TestbedError('ERR_TESTBED_SETUP', `${text}\n${consoleTail(machine)}`)
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

function commandsOf({ dom0, guests }: RunOptions): Map<DomainName, string> {
  const texts = [dom0 ?? '', ...(Array.isArray(guests) ? (guests as string[]) : [])]
  const pairs = domainNames.map((name, index): [DomainName, string] => [name, texts[index] ?? ''])
  return new Map(pairs.filter(([, text]) => text !== ''))
}

function checkOptions(options: RunOptions): void {
  const { payload, timeoutSeconds = defaultTimeoutSeconds, guestKernelArgs = '' } = options
  if (payload !== undefined && !isFolder(payload)) {
    throw new TypeError(`the payload is not a folder: ${payload}`)
  }
  // The negation also catches NaN, and what a timer cannot hold.
  if (!(timeoutSeconds > 0 && timeoutSeconds <= maxTimeoutSeconds)) {
    throw new RangeError(`the time can be up to ${maxTimeoutSeconds} s, not ${timeoutSeconds}`)
  }
  // xl's configuration has no way to write a quote within quotes.
  if (/["\n]/.test(guestKernelArgs)) {
    throw new TypeError(`the guests' kernel arguments can have no quote: ${guestKernelArgs}`)
  }
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
  // All that is missing is named at once, rather than QEMU after the build.
  const tools = found === undefined ? [...runTools, ...buildTools] : runTools
  requireTools('Running the test bed', [...new Set(tools)])
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
  await mkdir(runs, { recursive: true })
  // Several runs may start in the same moment, also in one process.
  const folder = await mkdtemp(join(runs, `${new Date().toISOString().replaceAll(':', '')}-`))
  for (const old of (await readdir(runs)).sort().slice(0, -keptRuns)) {
    // A run of another process may be at work in it.
    const { mtimeMs } = await stat(join(runs, old))
    if (Date.now() - mtimeMs > hour) await rm(join(runs, old), { recursive: true, force: true })
  }
  return await realpath(folder)
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}
