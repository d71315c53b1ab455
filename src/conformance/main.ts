#!/usr/bin/env node
/** `npm run conformance -- --platform sim|host|xen [--profile P] [--json] [--only 13,20-30]` */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { lineOf, summaryOf } from './report.ts'
import type { ProfileName } from './rig.ts'
import { RIGS } from './rigs.ts'
import { runConformance } from './runner.ts'
import { parseSelection } from './selection.ts'

const PROFILES: readonly ProfileName[] = ['linux-6.1', 'linux-6.12']

interface Options {
  platform: string
  profile?: ProfileName
  json?: true
  only?: ReadonlySet<number>
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parse(argv)
  if (typeof options === 'number') return options
  const makeRig = RIGS[options.platform]
  if (!makeRig) throw new Error(`no rig for ${options.platform}`)
  const rig = await makeRig(options.profile)
  try {
    const { json, only } = options
    const report = await runConformance(rig, {
      ...(only && { filter: one => only.has(one.id) }),
      onCase: one => json || console.log(lineOf(one)),
    })
    if (json) console.log(JSON.stringify(report, null, 2))
    else console.log(`${rig.name}, ${report.kernel} (${report.profile})\n${summaryOf(report)}`)
    return report.cases.some(one => one.outcome === 'failed') ? 1 : 0
  } finally {
    await rig.close()
  }
}

/** The options, or the exit status of a command line that asked for help or was wrong. */
function parse(argv: readonly string[]): Options | number {
  const command = new Command('conformance')
    .description('compares a platform with what the Xen drivers do, case by case')
    .addOption(
      new Option('--platform <name>', 'what to test')
        .choices(Object.keys(RIGS))
        .makeOptionMandatory(),
    )
    .addOption(new Option('--profile <name>', 'the kernel to imitate').choices(PROFILES))
    .option('--json', 'print one JSON document')
    .option('--only <numbers>', 'run these cases: 13,14,20-30', text => {
      const numbers = parseSelection(text)
      if (!numbers) throw new InvalidArgumentError('wanted is a list as 13,14,20-30')
      return numbers
    })
    .exitOverride()
  try {
    return command.parse(argv, { from: 'user' }).opts()
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    return error.exitCode === 0 ? 0 : 2
  }
}

main(process.argv.slice(2)).then(
  status => {
    process.exitCode = status
  },
  (error: unknown) => {
    console.error(error)
    process.exitCode = 1
  },
)
