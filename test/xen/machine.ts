import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { TestProject } from 'vitest/node'
import type { ConformanceReport } from '../../src/conformance/report.ts'
import {
  NODE,
  parseReport,
  runWithPackage,
  suiteCommand,
} from '../../src/conformance/xen-testbed.ts'
import { defaultKernel } from '../../src/testbed/package-names.ts'
import { cacheFolder } from '../../src/testbed/places.ts'
import type { RunOptions } from '../../src/testbed/run.ts'
import { BAD_INPUT, BAD_INPUT_PEER, type BadInputPlace } from '../cli/bad-input.ts'
import { type ShellSide, sidesArgument, TWO_SHELLS } from '../cli/two-shells.ts'
import { bundlePackage } from './bundle.ts'
import { CALLS_COMMANDS, compileCalls } from './calls-programs.ts'
import type { KernelName } from './provided.ts'
import { PLAY_COMMAND, Sequences, type SequencesReport, TAPE } from './sequences.ts'

/** `linux-image-amd64` is Debian's name for the newest build of its 6.1. */
const KERNELS: Readonly<Record<KernelName, string>> = {
  '6.12': defaultKernel,
  '6.1': 'linux-image-amd64',
}

/** The suite destroys all but one, and the script of bad input that one: none is made in between. */
const GUESTS = 5

const SHELL = `exec ${NODE} /payload/dist/cli/main.js shell`
const dom0: ShellSide = { domid: 0, run: ['sh', '-c'], shell: SHELL }
const guest = (domid: number): ShellSide => ({ domid, run: ['domu', String(domid)], shell: SHELL })

/** Two domains whose shells play the script of two shells, in which each of them is killed. */
interface Pair {
  readonly who: string
  readonly A: ShellSide
  readonly B: ShellSide
}
const GUESTS_PAIR: Pair = { who: 'two guests', A: guest(2), B: guest(3) }
const DOM0_PAIRS: readonly [Pair, Pair] = [
  { who: 'dom0 and a guest', A: dom0, B: guest(1) },
  { who: 'a guest and dom0', A: guest(1), B: dom0 },
]
const SHELLS_FILE = 'shells.txt'
const coin = (): 0 | 1 => (Math.random() < 0.5 ? 0 : 1)

/** The script takes long, and the kernels are the suite's to tell apart: a pair on each machine. */
function choosePairs(): Readonly<Record<KernelName, Pair>> {
  const ofDom0 = DOM0_PAIRS[coin()]
  return coin() === 0
    ? { '6.12': ofDom0, '6.1': GUESTS_PAIR }
    : { '6.12': GUESTS_PAIR, '6.1': ofDom0 }
}

/** dom0 compares calls meanwhile where the shells are those of guests. */
function shells(pair: Pair): string[] {
  const { A, B } = pair
  const program = `/payload/dom0/${basename(TWO_SHELLS)}`
  const script = `${NODE} ${program} '${sidesArgument({ A, B })}' >/host/${SHELLS_FILE}`
  return pair === GUESTS_PAIR ? [`(${CALLS_COMMANDS.join('; ')}) &`, script, 'wait $!'] : [script]
}

/** A machine has two processors: on two cores of a busy host, two machines take longer than in turn. */
const CORES = 2

const REFUSALS_FILE = 'refusals.txt'
/** Destroys the guest that the suite has left, or one that is made for it. */
const REFUSALS = [
  'for n in $(xenstore-list /local/domain); do [ $n = 0 ] || B=$n; done',
  '[ -n "$B" ] || B=$(new-guest)',
  `${NODE} /payload/dom0/${basename(BAD_INPUT)} "${place()}" >/host/${REFUSALS_FILE}`,
]

function place(): string {
  const limits = '/sys/module/xen_gnt'
  const set = (pages: number, callPages: number): string =>
    `echo ${pages} >${limits}alloc/parameters/limit; echo ${callPages} >${limits}dev/parameters/limit`
  const there: BadInputPlace = {
    dist: '/payload/dist',
    A: 0,
    B: '$B',
    peer: ['domu', '$B', `exec ${NODE} /payload/${basename(BAD_INPUT_PEER)} /payload/dist 0`],
    commands: {
      lower: set(8, 8),
      raise: set(1024, 65_536),
      close: 'false',
      open: 'false',
      destroy: 'xl destroy domu$B',
      remove: 'rmmod xen_gntalloc',
      restore: 'insmod /lib/modules/xen_gntalloc.ko',
    },
    knobs: [`${limits}alloc/parameters/limit`, `${limits}dev/parameters/limit`],
  }
  // dom0's shell puts the guest's number in.
  return JSON.stringify(there).replaceAll('"', '\\"')
}

const SUITE_PROGRAM = 'suite.js'
const SUITE_FILE = 'conformance.json'
/** dom0 copies what is in /tmp/log to the host: below /host each line would be a round trip there. */
const SUITE_LOG = 'log/conformance.log'
/** Cases that failed are told by the report. */
const SUITE = `(${suiteCommand(`dom0/${SUITE_PROGRAM}`)}) >/host/${SUITE_FILE} 2>/tmp/${SUITE_LOG}`

/**
 * Starts Xen with its guests, once with each kernel, and runs all that needs it. The suite comes
 * late: it sets limits of the kernel that others share with it, and destroys the guests.
 */
export default async function runOnce({ provide }: TestProject): Promise<void> {
  const programs = await mkdtemp(join(tmpdir(), 'interdom-programs-'))
  try {
    const dist = join(programs, 'dist')
    const suite = join(programs, SUITE_PROGRAM)
    await bundlePackage(dist, suite)
    const last = [SUITE, ...REFUSALS]
    const dom0 = [BAD_INPUT, TWO_SHELLS, suite]
    const calls = await compileCalls(programs)
    const pairs = choosePairs()
    const run = (kernel: KernelName) => (stop: AbortSignal) => {
      const files = pairs[kernel] === GUESTS_PAIR ? [...dom0, ...calls] : dom0
      return boot(kernel, [...shells(pairs[kernel]), ...last], { dist, dom0: files }, stop)
    }
    const [newer, older] = await allOrNone(run('6.12'), run('6.1'))
    const { told } = pairs['6.12'] === GUESTS_PAIR ? newer : older
    provide('onXen', {
      conformance: { '6.12': newer.report, '6.1': older.report },
      shells: {
        [`${pairs['6.12'].who} with Linux 6.12`]: newer.told(SHELLS_FILE),
        [`${pairs['6.1'].who} with Linux 6.1`]: older.told(SHELLS_FILE),
      },
      refusals: { '6.12': newer.told(REFUSALS_FILE), '6.1': older.told(REFUSALS_FILE) },
      sequences: { '6.12': newer.sequences, '6.1': older.sequences },
      calls: { theirs: told('theirs.calls'), ours: told('ours.calls') },
    })
  } finally {
    await rm(programs, { recursive: true })
  }
}

interface Told {
  readonly report: ConformanceReport
  readonly sequences: SequencesReport
  /** A file that dom0 wrote. */
  readonly told: (file: string) => string
}

/**
 * Both at the same time where each has the cores that it wants, else one after the other. When one
 * fails the other is stopped, and the first failure is thrown.
 */
async function allOrNone(...tasks: readonly [Task, Task]): Promise<[newer: Told, older: Told]> {
  const stop = new AbortController()
  const attempt = async (task: Task): Promise<Told> => {
    try {
      return await task(stop.signal)
    } catch (error) {
      stop.abort(error)
      throw error
    }
  }
  if (availableParallelism() < 2 * CORES) return [await attempt(tasks[0]), await attempt(tasks[1])]
  const [first, second] = [attempt(tasks[0]), attempt(tasks[1])]
  await Promise.allSettled([first, second])
  stop.signal.throwIfAborted()
  return [await first, await second]
}

type Task = (stop: AbortSignal) => Promise<Told>

async function boot(
  kernel: KernelName,
  commands: readonly string[],
  payload: { readonly dist: string; readonly dom0: readonly string[] },
  signal: AbortSignal,
): Promise<Told> {
  const sequences = await Sequences.compose(`linux-${kernel}`)
  const folder = await mkdtemp(join(tmpdir(), 'interdom-sequences-'))
  const options: RunOptions = {
    kernel: KERNELS[kernel],
    dom0: [PLAY_COMMAND, ...commands].join('\n'),
    guests: GUESTS,
    snapshot: true,
    signal,
    onStep: text => console.error(`Linux ${kernel}: ${text}`),
  }
  const { out, seconds } = await sequences
    .writeTo(folder)
    .then(script => {
      const files = { all: [BAD_INPUT_PEER], dom0: [...payload.dom0, script] }
      return runWithPackage(options, files, payload.dist)
    })
    .catch((cause: unknown) => {
      throw new Error(`the machine with Linux ${kernel} failed: ${cause}`, { cause })
    })
    .finally(() => rm(folder, { recursive: true }))
  const told = (file: string): string => readFileSync(join(out, file), 'utf8')
  const text = told(SUITE_FILE)
  const report = parseReport(text, told(SUITE_LOG))
  const reports = join(cacheFolder(), 'reports')
  await mkdir(reports, { recursive: true })
  await writeFile(join(reports, `xen-${kernel}.json`), text)
  const took = `the machine with ${report.kernel} ran for ${Math.round(seconds)} s`
  console.error(`${took}; its logs are in ${out}, the suite's report is in ${reports}`)
  return { report, sequences: await sequences.compare(told(TAPE)), told }
}
