import { readFileSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { type RunOptions, type RunResult, run } from '../testbed/run.ts'
import { C_PUPPET_VARIABLE, compileCPuppet, compilePlayer } from './c-puppet.ts'
import type { ConformanceReport } from './report.ts'
import { copyPackage } from './xen-payload.ts'

export interface TestbedOptions {
  /** Debian package of the kernel; left out: the one that the fact sheet describes. */
  readonly kernel?: string
  /** More words for the command line of main.js in dom0. */
  readonly words?: readonly string[]
  /** Told of each case's line, while the machine runs. */
  readonly onLine?: (line: string) => void
  /** Told of what takes its time before. */
  readonly onStep?: (text: string) => void
  readonly signal?: AbortSignal
}

/** Emulated, and with the build of the image not counted. */
const TIMEOUT_SECONDS = 900
/** Several processes of Node at once, and the root file system in memory. Megabytes. */
export const DOM0_MEMORY = 1280
const TAIL_LINES = 20

/** As many other domains as a case asks for at a time. */
export const SUITE_GUESTS = 2

/** A domain has one processor: V8's threads that collect garbage would only take turns on it. */
export const NODE = 'node --single-threaded-gc'

/**
 * What runs the suite in a domain that has this package as its payload.
 * @param program - Path of the suite's program, below the payload.
 */
export function suiteCommand(program = 'dist/conformance/main.js'): string {
  const command = `${NODE} ${program} --platform xen --json --progress`
  return `cd /payload && ${C_PUPPET_VARIABLE}=/payload/puppet ${command}`
}

/** Whether this process runs in a PV domain of Xen, where the suite can use the devices. */
export function isPvDomain(): boolean {
  return fact('type') === 'xen' && fact('guest_type') === 'PV'
}

/** Boots Xen in an emulated machine and runs the suite in its dom0. */
export async function runOnTestbed(options: TestbedOptions = {}): Promise<ConformanceReport> {
  const { kernel, words = [], onLine, onStep, signal } = options
  const result = await runWithPackage({
    ...(kernel !== undefined && { kernel }),
    ...(onStep && { onStep }),
    ...(signal && { signal }),
    guests: SUITE_GUESTS,
    dom0: [suiteCommand(), ...words].join(' '),
    onOutput: ({ stream, line }) => {
      if (stream === 'stderr') onLine?.(line)
    },
  })
  const { stdout = '', stderr = '' } = result.domains.dom0 ?? {}
  return parseReport(stdout, stderr)
}

/** Paths of what the payload has besides: in /payload of every domain, in /payload/dom0 of dom0. */
export interface MoreFiles {
  readonly all?: readonly string[]
  readonly dom0?: readonly string[]
}

/**
 * Boots Xen with this package, and more files beside it, in /payload of every domain.
 * @param dist - Folder with the compiled code, when it is another than the package's own.
 */
export async function runWithPackage(
  options: RunOptions,
  { all = [], dom0 = [] }: MoreFiles = {},
  dist?: string,
): Promise<RunResult> {
  const payload = await mkdtemp(join(tmpdir(), 'interdom-payload-'))
  try {
    await copyPackage(payload, dist)
    await compileCPuppet(payload)
    await compilePlayer(payload)
    for (const file of all) await cp(file, join(payload, basename(file)))
    for (const file of dom0) await cp(file, join(payload, 'dom0', basename(file)))
    const result = await run({
      payload,
      memory: { dom0: DOM0_MEMORY },
      timeoutSeconds: TIMEOUT_SECONDS,
      ...options,
    })
    if (result.failure) throw result.failure
    return result
  } finally {
    await rm(payload, { recursive: true, force: true })
  }
}

/** What main.js printed, or an error with the end of what it said before it died. */
export function parseReport(stdout: string, stderr: string): ConformanceReport {
  try {
    return JSON.parse(stdout) as ConformanceReport
  } catch (cause) {
    const tail = stderr.trimEnd().split('\n').slice(-TAIL_LINES).join('\n')
    throw new Error(`the suite in dom0 ended without a report:\n${tail}`, { cause })
  }
}

function fact(name: string): string | undefined {
  try {
    return readFileSync(`/sys/hypervisor/${name}`, 'utf8').trim()
  } catch {
    return undefined
  }
}
