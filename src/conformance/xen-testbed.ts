import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../testbed/run.ts'
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
const DOM0_MEMORY = 1280
const TAIL_LINES = 20

/** Whether this process runs in a PV domain of Xen, where the suite can use the devices. */
export function isPvDomain(): boolean {
  return fact('type') === 'xen' && fact('guest_type') === 'PV'
}

/** Boots Xen in an emulated machine and runs the suite in its dom0. */
export async function runOnTestbed(options: TestbedOptions = {}): Promise<ConformanceReport> {
  const { kernel, words = [], onLine, onStep, signal } = options
  const payload = await mkdtemp(join(tmpdir(), 'interdom-payload-'))
  try {
    await copyPackage(payload)
    const command = 'node dist/conformance/main.js --platform xen --json --progress'
    const result = await run({
      ...(kernel !== undefined && { kernel }),
      ...(onStep && { onStep }),
      ...(signal && { signal }),
      dom0: ['cd /payload &&', command, ...words].join(' '),
      payload,
      memory: { dom0: DOM0_MEMORY },
      timeoutSeconds: TIMEOUT_SECONDS,
      onOutput: ({ stream, line }) => {
        if (stream === 'stderr') onLine?.(line)
      },
    })
    if (result.failure) throw result.failure
    const { stdout = '', stderr = '' } = result.domains.dom0 ?? {}
    return parsed(stdout, stderr)
  } finally {
    await rm(payload, { recursive: true, force: true })
  }
}

function parsed(stdout: string, stderr: string): ConformanceReport {
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
