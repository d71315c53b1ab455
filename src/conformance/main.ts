#!/usr/bin/env node
/** `npm run conformance -- --platform sim|host|xen [--profile P] [--kind K] [--only 13,20-30]` */
import { Command, InvalidArgumentError, Option } from 'commander'
import { PROFILE_NAMES, type ProfileName } from '../kernel/profiles.ts'
import { C_PUPPET_VARIABLE } from './c-puppet.ts'
import { runProgram } from './program.ts'
import { type ConformanceReport, lineOf, summaryOf } from './report.ts'
import { RIGS } from './rigs.ts'
import { runConformance } from './runner.ts'
import { parseSelection } from './selection.ts'
import { isPvDomain, runOnTestbed } from './xen-testbed.ts'

interface Options {
  platform: string
  profile?: ProfileName
  kind?: 'pv' | 'hvm'
  kernel?: string
  json?: true
  progress?: true
  only?: Selection
}

interface Selection {
  readonly text: string
  readonly numbers: ReadonlySet<number>
}

async function main(options: Options): Promise<number> {
  if (options.platform === 'xen' && options.kind === 'hvm') {
    console.error('conformance: the domains of the test bed are PV; --kind hvm is for sim and host')
    return 2
  }
  const isElsewhere = options.platform === 'xen' && (options.kernel || !isPvDomain())
  const report = await (isElsewhere ? onTestbed(options) : here(options))
  if (options.json) console.log(JSON.stringify(report, null, 2))
  else {
    const { platform, kernel, profile, kind } = report
    console.log(`${platform}, ${kernel} (${profile}, ${kind})\n${summaryOf(report)}`)
  }
  return report.cases.some(one => one.outcome === 'failed') ? 1 : 0
}

async function here(options: Options): Promise<ConformanceReport> {
  const makeRig = RIGS[options.platform]
  if (!makeRig) throw new Error(`no rig for ${options.platform}`)
  const rig = await makeRig(options)
  const onLine = progressOf(options)
  try {
    return await runConformance(rig, {
      ...filterOf(options),
      onCase: one => onLine(lineOf(one)),
    })
  } finally {
    await rig.close()
  }
}

/** Xen is not here, so a machine with Xen is made, and this program run in its dom0. */
async function onTestbed(options: Options): Promise<ConformanceReport> {
  const { kernel, profile, only } = options
  const stop = new AbortController()
  // Without this, an interrupted run would leave the machine behind until its time is up.
  const interrupted = (signal: NodeJS.Signals): void => stop.abort(new Error(`ended by ${signal}`))
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted)
  return runOnTestbed({
    ...(kernel !== undefined && { kernel }),
    words: [...(profile ? ['--profile', profile] : []), ...(only ? ['--only', only.text] : [])],
    signal: stop.signal,
    onStep: text => console.error(text),
    onLine: progressOf(options),
  })
}

function filterOf({ only }: Options): { filter?: (one: { id: number }) => boolean } {
  return only ? { filter: one => only.numbers.has(one.id) } : {}
}

/** Where the line of a case goes: not among the JSON. */
function progressOf({ json, progress }: Options): (line: string) => void {
  if (!json) return line => console.log(line)
  // A console formats first, which an emulated processor notices.
  return progress ? line => process.stderr.write(`${line}\n`) : () => {}
}

function selection(text: string): Selection {
  const numbers = parseSelection(text)
  if (!numbers) throw new InvalidArgumentError('wanted is a list as 13,14,20-30')
  return { text, numbers }
}

function commandLine(): Command {
  return new Command('conformance')
    .description('compares a platform with what the Xen drivers do, case by case')
    .addOption(
      new Option('--platform <name>', 'what to test')
        .choices(Object.keys(RIGS))
        .makeOptionMandatory(),
    )
    .addOption(new Option('--profile <name>', 'the kernel to imitate').choices(PROFILE_NAMES))
    .addOption(new Option('--kind <kind>', 'how its domain maps grants').choices(['pv', 'hvm']))
    .option('--kernel <package>', "Debian package of the test bed's kernel, for --platform xen")
    .option('--json', 'print one JSON document')
    .option('--progress', 'with --json: a line for each case on standard error')
    .option('--only <numbers>', 'run these cases: 13,14,20-30', selection)
    .addHelpText(
      'after',
      `\nIn a domain of Xen, ${C_PUPPET_VARIABLE} names the compiled testbed/puppet.c, without ` +
        'which\nthe cases of fork, signal, fault and remap are skipped.',
    )
}

await runProgram(commandLine(), main)
