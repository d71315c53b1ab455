#!/usr/bin/env node
/** `npm run differential -- --platform NAME [--against NAME] [--domains 2] [--seed N] …` */
import { randomInt } from 'node:crypto'
import { Command, InvalidArgumentError, Option } from 'commander'
import { runProgram } from '../conformance/program.ts'
import { RIGS } from '../conformance/rigs.ts'
import { DEFAULT_PROFILE, PROFILE_NAMES, type ProfileName } from '../kernel/profiles.ts'
import type { Performer } from './performer.ts'
import { RigStage } from './rig-stage.ts'
import { type DifferentialReport, type FoundDifference, runDifferential } from './run.ts'
import type { Domains } from './stage.ts'
import { XenPerformer } from './xen-performer.ts'

/** Seeds that are drawn leave room for as many sequences as anybody has the time for. */
const SEED_END = 2 ** 31
const COUNT = 100

interface Options {
  platform: string
  against?: string
  profile?: ProfileName
  kernel?: string
  seed: number
  count: number
  domains: Domains
  json?: true
}

/** Each platform is compared with the model, and then the platforms with each other. */
async function main(options: Options): Promise<number> {
  const { platform, against, profile, kernel, seed, count, json } = options
  const onXen = [platform, against].includes('xen')
  if (onXen && (kernel === undefined) !== (profile === undefined)) {
    console.error('--kernel and --profile go together: a sequence that one kernel can take may')
    console.error('crash another (docs/differential.md says what is never played on which)')
    return 2
  }
  const reports: DifferentialReport[] = []
  for (const name of new Set([platform, against ?? platform])) {
    const start = performance.now()
    const report = await compare(name, options)
    reports.push(report)
    const seconds = Math.round((performance.now() - start) / 1000)
    console.error(`${name}: ${summaryOf(report)}, ${seconds} s`)
  }
  if (json) console.log(JSON.stringify(reports, null, 2))
  const [first, second = first] = reports
  const isEqual = String(first?.digests) === String(second?.digests)
  if (!isEqual) console.error(`${platform} and ${against} went apart`)
  const differs = reports.some(({ differences }) => differences.length > 0)
  if (differs || !isEqual) console.error(`again: --seed ${seed} --count ${count}`)
  return differs || !isEqual ? 1 : 0
}

async function compare(platform: string, options: Options): Promise<DifferentialReport> {
  const { profile = DEFAULT_PROFILE, seed, count, domains } = options
  const performer = await performerOn(platform, options)
  try {
    return await runDifferential(performer, { profile, seed, count, domains, onDifference: tell })
  } finally {
    await performer.close()
  }
}

async function performerOn(
  platform: string,
  { profile, kernel, domains }: Options,
): Promise<Performer> {
  if (platform === 'xen') {
    const onStep = (text: string): void => console.error(text)
    return XenPerformer.start({ ...(kernel !== undefined && { kernel }), domains, onStep })
  }
  const makeRig = RIGS[platform]
  if (!makeRig) throw new Error(`no rig for ${platform}`)
  return new RigStage(await makeRig(profile ? { profile } : {}), domains)
}

function tell({ seed, transcript }: FoundDifference): void {
  console.error([`seed ${seed}, made short:`, ...transcript].join('\n'))
}

function summaryOf({ seed, count, steps, settles, differences, unsteady }: DifferentialReport) {
  const noise = unsteady.length > 0 ? ` (and once, not again: ${unsteady})` : ''
  const found = `${differences.length} differences${noise}`
  return `${count} sequences from seed ${seed}, ${steps} steps, ${settles} waits, ${found}`
}

function whole(text: string): number {
  const n = Number(text)
  if (!Number.isSafeInteger(n) || n < 0) throw new InvalidArgumentError('wanted is a whole number')
  return n
}

function domains(text: string): Domains {
  const n = whole(text)
  if (n !== 1 && n !== 2) throw new InvalidArgumentError('wanted is 1 or 2')
  return n
}

function commandLine(): Command {
  const platforms = Object.keys(RIGS)
  return new Command('differential')
    .description('plays random sequences of calls on platforms and compares what they answer')
    .addOption(new Option('--platform <name>').choices(platforms).makeOptionMandatory())
    .addOption(new Option('--against <name>', 'another one').choices(platforms))
    .addOption(new Option('--profile <name>', 'the kernel of the model').choices(PROFILE_NAMES))
    .option('--kernel <package>', "Debian package of the test bed's kernel, for xen")
    .option('--seed <n>', 'of the first sequence', whole, randomInt(SEED_END))
    .option('--count <n>', 'sequences', whole, COUNT)
    .addOption(
      new Option('--domains <n>', 'that a sequence has: 1 or 2').argParser(domains).default(1),
    )
    .option('--json', 'print the reports')
}

await runProgram(commandLine(), main)
