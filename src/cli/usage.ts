import { type Command, CommanderError, InvalidArgumentError } from 'commander'
import { DOMID_FIRST_RESERVED } from '../abi/domid.ts'
import { MODULE_NAMES, type ModuleName, moduleNamed } from '../abi/modules.ts'
import { isLimitName, LIMIT_NAMES } from '../kernel/limits.ts'
import { PLATFORM_NAMES, type PlatformName } from '../platform-choice.ts'

/** Exit codes that scripts can use. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const

/** Wrong usage shows the usage on stderr and exits 2, where commander's own choice is 1. */
export function strict(command: Command): Command {
  return command
    .showHelpAfterError()
    .allowExcessArguments(false)
    .exitOverride((error: CommanderError) => {
      process.exit(error.exitCode === 0 ? EXIT.ok : EXIT.usage)
    })
}

/** Runs what a command does; a failure is one message on stderr and exit 1. */
export async function reported(command: Command, action: () => Promise<void>): Promise<void> {
  try {
    await action()
  } catch (error) {
    if (error instanceof CommanderError) throw error
    const message = error instanceof Error ? error.message : String(error)
    process.stderr.write(`${fullName(command)}: ${message}\n`)
    process.exitCode = EXIT.failed
  }
}

/** `'interdom host start'` */
function fullName(command: Command): string {
  return command.parent ? `${fullName(command.parent)} ${command.name()}` : command.name()
}

/** Runs what depends on options alone: a TypeError or RangeError there is wrong usage. */
export async function fromOptions<T>(command: Command, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error
    return command.error(`error: ${error.message}`)
  }
}

export function domidArgument(text: string): number {
  const domid = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (domid >= 0 && domid < DOMID_FIRST_RESERVED) return domid
  throw new InvalidArgumentError(`A domid is a number from 0 to ${DOMID_FIRST_RESERVED - 1}.`)
}

/** `gntalloc.limit=8`, added to those before it. */
export function limitArgument(
  text: string,
  before: Readonly<Record<string, number>> = {},
): Readonly<Record<string, number>> {
  const [name = '', value = ''] = text.split('=')
  if (isLimitName(name)) return { ...before, [name]: wholeNumber(value) }
  throw new InvalidArgumentError(`A limit is one of ${LIMIT_NAMES.join(', ')}.`)
}

/** `xen-gntalloc`, or `xen_gntalloc`. */
export function moduleArgument(text: string): ModuleName {
  try {
    return moduleNamed(text)
  } catch {
    throw new InvalidArgumentError(`A module is one of ${MODULE_NAMES.join(', ')}.`)
  }
}

export function wholeNumber(text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('A whole number from 0 up is wanted.')
}

export function platformArgument(text: string): PlatformName {
  if ((PLATFORM_NAMES as readonly string[]).includes(text)) return text as PlatformName
  throw new InvalidArgumentError(`A platform is one of ${PLATFORM_NAMES.join(', ')}.`)
}
