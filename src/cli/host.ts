import { resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Command, Option } from 'commander'
import { ERRNO } from '../abi/errno.ts'
import { MODULE_NAMES, type ModuleName } from '../abi/modules.ts'
import { XenError } from '../base/errors.ts'
import type { HostStatus } from '../host/index.ts'
import { LIMIT_NAMES } from '../kernel/limits.ts'
import { PROFILE_NAMES, type ProfileName } from '../kernel/profiles.ts'
import {
  domidArgument,
  limitArgument,
  moduleArgument,
  reported,
  strict,
  wholeNumber,
} from './usage.ts'

/** How long a host may take to go, and how often we look. */
const STOP_TIMEOUT_MS = 5000
const STOP_LOOK_MS = 20

interface HostFlags {
  readonly dir?: string
  readonly json?: boolean
  readonly kernel?: ProfileName
}

interface MakeFlags extends HostFlags {
  readonly kind?: 'pv' | 'hvm'
  readonly limit?: Readonly<Record<string, number>>
  readonly clock?: 'real' | 'manual'
}

/** `interdom host`: the simulated machine of this user. */
export function hostCommand(): Command {
  return strict(new Command('host'))
    .description('start, ask and stop a host: a simulated machine made of processes')
    .addCommand(startCommand())
    .addCommand(statusCommand())
    .addCommand(stopCommand())
    .addCommand(createCommand())
    .addCommand(destroyCommand())
    .addCommand(setCommand())
    .addCommand(moduleCommand('load', 'load a module into the kernel of a domain, as modprobe'))
    .addCommand(moduleCommand('unload', 'take a module out while nobody uses it, as rmmod'))
    .addCommand(advanceCommand())
}

function withDirectory(command: Command): Command {
  return strict(command).option(
    '--dir <dir>',
    'its directory (default: INTERDOM_HOST, else the usual one)',
  )
}

function startCommand(): Command {
  return withDirectory(new Command('start'))
    .description('start a host that stays until it is stopped')
    .addOption(
      new Option('--kernel <name>', 'whose behaviour its domains have').choices(PROFILE_NAMES),
    )
    .addOption(new Option('--clock <kind>', "the drivers' timers").choices(['real', 'manual']))
    .option('--limit <name=value>', 'a limit of all its domains; may be repeated', limitArgument)
    .option('--json', 'print its status as JSON')
    .action((flags: MakeFlags, command: Command) =>
      reported(command, async () => {
        const { spawnHost } = await import('../host/index.ts')
        const directory = await directoryOf(flags)
        const { kernel, clock, limit: limits } = flags
        await spawnHost({
          directory,
          daemon: true,
          ...(kernel && { kernel }),
          ...(clock && { clock }),
          ...(limits && { limits }),
        })
        print(await statusOf(directory), flags)
        if (!flags.json) process.stdout.write(`programs find it by INTERDOM_HOST=${directory}\n`)
      }),
    )
}

function statusCommand(): Command {
  return withDirectory(new Command('status'))
    .description('say what runs there; exits 1 when nothing does')
    .option('--json', 'print it as JSON')
    .action((flags: HostFlags, command: Command) =>
      reported(command, async () => print(await statusOf(await directoryOf(flags)), flags)),
    )
}

function stopCommand(): Command {
  return withDirectory(new Command('stop'))
    .description('stop the host, and with it all of its domains')
    .action((flags: HostFlags, command: Command) =>
      reported(command, async () => {
        const { giveOrder } = await import('../host/index.ts')
        const directory = await directoryOf(flags)
        const { pid } = await statusOf(directory)
        giveOrder(directory, { order: 'stop' })
        await gone(directory)
        process.stdout.write(`stopped the host in ${directory}, pid ${pid}\n`)
      }),
    )
}

function destroyCommand(): Command {
  return withDirectory(new Command('destroy'))
    .description('destroy a domain, as xl destroy: no byte is cleared, no event sent')
    .argument('<domid>', 'the domain', domidArgument)
    .action((domid: number, flags: HostFlags, command: Command) =>
      reported(command, async () => {
        const { giveOrder } = await import('../host/index.ts')
        giveOrder(await directoryOf(flags), { order: 'destroy', domid })
        process.stdout.write(`destroyed domain ${domid}\n`)
      }),
    )
}

function createCommand(): Command {
  return withDirectory(new Command('create'))
    .description('make a domain that stays without processes; one made by first use does not')
    .argument('<domid>', 'its number', domidArgument)
    .addOption(new Option('--kernel <name>', 'whose behaviour it has').choices(PROFILE_NAMES))
    .addOption(new Option('--kind <kind>', 'default pv').choices(['pv', 'hvm']))
    .option('--limit <name=value>', 'a limit of it; may be repeated', limitArgument)
    .action((domid: number, flags: MakeFlags, command: Command) =>
      reported(command, async () => {
        const { giveOrder } = await import('../host/index.ts')
        const { kernel, kind, limit: limits } = flags
        giveOrder(await directoryOf(flags), {
          order: 'domain',
          domid,
          stays: true,
          ...(kernel && { kernel }),
          ...(kind && { kind }),
          ...(limits && { limits }),
        })
        process.stdout.write(`created domain ${domid}\n`)
      }),
    )
}

function setCommand(): Command {
  return withDirectory(new Command('set'))
    .description('change a limit of a domain while it runs; "interdom ls" shows them')
    .argument('<domid>', 'the domain', domidArgument)
    .argument('<limit>', `one of ${LIMIT_NAMES.join(', ')}`)
    .argument('<value>', 'a whole number', wholeNumber)
    .action((domid: number, limit: string, value: number, flags: HostFlags, command: Command) =>
      reported(command, async () => {
        const { giveOrder } = await import('../host/index.ts')
        giveOrder(await directoryOf(flags), { order: 'set', domid, limit, value })
        process.stdout.write(`domain ${domid}: ${limit} is ${value}\n`)
      }),
    )
}

function moduleCommand(order: 'load' | 'unload', description: string): Command {
  return withDirectory(new Command(order))
    .description(description)
    .argument('<domid>', 'the domain', domidArgument)
    .argument('<module>', `one of ${MODULE_NAMES.join(', ')}`, moduleArgument)
    .action((domid: number, module: ModuleName, flags: HostFlags, command: Command) =>
      reported(command, async () => {
        const { giveOrder } = await import('../host/index.ts')
        giveOrder(await directoryOf(flags), { order, domid, module })
        process.stdout.write(`domain ${domid}: ${module} is ${order}ed\n`)
      }),
    )
}

function advanceCommand(): Command {
  return withDirectory(new Command('advance'))
    .description('move the time on of a host that was started with --clock manual')
    .argument('<ms>', 'by so many milliseconds', wholeNumber)
    .action((ms: number, flags: HostFlags, command: Command) =>
      reported(command, async () => {
        const { giveOrder } = await import('../host/index.ts')
        const now = giveOrder(await directoryOf(flags), { order: 'advance', ms })
        process.stdout.write(`it is ${now} ms\n`)
      }),
    )
}

export async function directoryOf({ dir }: HostFlags): Promise<string> {
  const { hostDirectory } = await import('../host/index.ts')
  return resolve(hostDirectory(dir))
}

async function statusOf(directory: string): Promise<HostStatus> {
  const { giveOrder } = await import('../host/index.ts')
  return giveOrder(directory, { order: 'status' }) as HostStatus
}

function print(status: HostStatus, { json }: HostFlags): void {
  process.stdout.write(json ? `${JSON.stringify(status, null, 2)}\n` : hostText(status))
}

/** The status as people read it. */
export function hostText({ pid, directory, kernel, domains }: HostStatus): string {
  const lines = domains.map(({ domid, kind, kernel: own, pids, missingModules }) => {
    const processes = pids.length === 0 ? 'no process' : `processes ${pids.join(' ')}`
    const missing = missingModulesText(missingModules).map(text => `  ${text}`)
    return `  domain ${domid}  ${kind}  ${own}  ${processes}${missing.join('')}\n`
  })
  return `host in ${directory}: pid ${pid}, kernel ${kernel}\n${lines.join('')}`
}

/** What a domain lacks, for people: nothing when all is there. */
export function missingModulesText(missing: readonly ModuleName[]): string[] {
  return missing.length === 0 ? [] : [`not loaded: ${missing.join(', ')}`]
}

/** Waits until nobody answers there any more. */
async function gone(directory: string): Promise<void> {
  const end = performance.now() + STOP_TIMEOUT_MS
  while (performance.now() < end) {
    try {
      await statusOf(directory)
    } catch {
      return
    }
    await delay(STOP_LOOK_MS)
  }
  throw new XenError(-ERRNO.ETIMEDOUT, 'host stop', {
    path: directory,
    fix: 'it goes on after its last call; see host.log there',
  })
}
