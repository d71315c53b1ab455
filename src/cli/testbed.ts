import { constants } from 'node:os'
import { Command, InvalidArgumentError } from 'commander'
import { maxGuests } from '../testbed/domain-names.ts'
import { exitCodes, TestbedError } from '../testbed/failure.ts'
import { defaultTimeoutSeconds } from '../testbed/limits.ts'
import { defaultKernel } from '../testbed/package-names.ts'
import type { OutputLine } from '../testbed/recorder.ts'
import type { RunResult } from '../testbed/run.ts'
import { strict } from './usage.ts'

interface RunFlags {
  kernel: string
  node?: string
  dom0?: string
  domu: string[]
  guests?: number
  payload?: string
  out?: string
  timeout: number
  kernelArgs?: string
  guestKernelArgs?: string
  xenArgs?: string
  guestConfig: string[]
  snapshot?: boolean
  json?: boolean
  verbose?: boolean
}

class Interrupted extends Error {}

const exitCodeHelp = `
Exit code: that of the first command that failed, dom0 first; or
  ${exitCodes.usage}    wrong usage
  ${exitCodes.unavailable}  a tool, a package or an input is missing
  ${exitCodes.setup}  Xen or a guest could not be set up
  ${exitCodes.guest}  a guest did not get ready
  ${exitCodes.stopped}  the machine stopped before the commands ended
  ${exitCodes.timeout}  the time ran out`

/** `interdom testbed`: real Xen in an emulated machine. */
export function testbedCommand(): Command {
  const command = strict(new Command('testbed')).description(
    'real Xen in an emulated machine: build it, run commands in dom0 and guests',
  )
  command.addCommand(buildCommand()).addCommand(runCommand())
  return command
}

function buildCommand(): Command {
  return strict(new Command('build'))
    .description("fetch Debian's packages of Xen and Linux, make the image")
    .option('--kernel <package>', 'Debian package of the kernel', defaultKernel)
    .option('--node <path>', 'node binary for the domains', process.execPath)
    .action(async (flags: { kernel: string; node: string }) => {
      await reported(async () => {
        const { build } = await import('../testbed/build.ts')
        const image = await build({ ...flags, onStep: step })
        console.log(image.folder)
      })
    })
}

function runCommand(): Command {
  const several = (value: string, before: string[]): string[] => [...before, value]
  const none: string[] = []
  return strict(new Command('run'))
    .description('boot, run the commands at the same time, stop; builds first if need be')
    .option('--kernel <package>', 'Debian package of the kernel', defaultKernel)
    .option('--node <path>', 'node binary for the domains (default: this one)')
    .option('--dom0 <command>', 'shell text for dom0, where domu N COMMAND runs one in guest N')
    .option('--domu <command>', 'shell text for the next guest; may be repeated', several, none)
    .option('--guests <n>', `guests, 0 to ${maxGuests} (default: one for each --domu)`, wholeNumber)
    .option(
      '--payload <folder>',
      'becomes /payload in every domain, its own folder dom0 in dom0 only',
    )
    .option('--out <folder>', 'is /host in dom0, and gets the output and the logs')
    .option('--timeout <seconds>', 'ends the machine', wholeNumber, defaultTimeoutSeconds)
    .option('--kernel-args <words>', "for dom0's kernel and modules: xen_gntalloc.limit=64")
    .option('--guest-kernel-args <words>', 'the same for the guests')
    .option('--xen-args <words>', "for Xen's command line: gnttab_max_frames=8")
    .option('--guest-config <line>', "for the guests' xl configuration; repeatable", several, none)
    .option('--snapshot', 'start from a saved state after the boot; taken on first use')
    .option('--json', 'print the result as JSON instead of the output')
    .option('-v, --verbose', "show the machine's console too")
    .addHelpText('after', exitCodeHelp)
    .action(async (flags: RunFlags, command: Command) => {
      const guests = Math.max(flags.guests ?? 0, flags.domu.length)
      if (guests > maxGuests) command.error(`error: there can be at most ${maxGuests} guests`)
      if (flags.dom0 === undefined && flags.domu.length === 0) {
        command.error('error: nothing to run: give --dom0 or --domu')
      }
      await reported(async () => await runFlags(flags, guests))
    })
}

async function runFlags(flags: RunFlags, guests: number): Promise<void> {
  const { json, timeout, domu, guests: _, ...same } = flags
  const stop = new AbortController()
  // Without this, an interrupted run would leave the machine behind until its time is up.
  const interrupted = (signal: NodeJS.Signals): void => {
    stop.abort(new Interrupted(`ended by ${signal}`, { cause: constants.signals[signal] }))
  }
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted)
  const { run } = await import('../testbed/run.ts')
  const result = await run({
    ...same,
    guests: Array.from({ length: guests }, (_, index) => domu[index] ?? ''),
    timeoutSeconds: timeout,
    signal: stop.signal,
    onStep: step,
    ...(json !== true && { onOutput: print }),
  })
  process.exitCode = result.exitCode
  if (json === true) {
    console.log(JSON.stringify(plain(result), null, 2))
    return
  }
  if (result.failure !== undefined) console.error(`interdom testbed: ${result.failure.message}`)
  step(`exit code ${result.exitCode}, ${result.seconds.toFixed(1)} s, logs in ${result.out}`)
}

function print({ domain, stream, line }: OutputLine): void {
  if (stream === 'stdout') console.log(`${domain}| ${line}`)
  else console.error(`${domain}| ${line}`)
}

function plain({ failure, domains, ...rest }: RunResult): object {
  const commands = Object.entries(domains).map(([name, domain]) => {
    return [name, { ...domain, exitCode: domain.exitCode ?? null }]
  })
  const reason = failure === undefined ? null : { code: failure.code, message: failure.message }
  return { ...rest, failure: reason, domains: Object.fromEntries(commands) }
}

function step(text: string): void {
  console.error(`interdom testbed: ${text}`)
}

async function reported(action: () => Promise<void>): Promise<void> {
  try {
    await action()
  } catch (error) {
    if (!(error instanceof Error)) throw error
    step(error.message)
    // A folder or a number that cannot be is the caller's; all else is this machine's.
    const misuse = error instanceof TypeError || error instanceof RangeError
    process.exitCode = misuse ? exitCodes.usage : 1
    if (error instanceof TestbedError) process.exitCode = error.exitCode
    // As a shell says it of a program that a signal has ended.
    if (error instanceof Interrupted) process.exitCode = 128 + Number(error.cause)
  }
}

function wholeNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('Not a whole number.')
  return Number(text)
}
