import { accessSync, constants, lstatSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { Command } from 'commander'
import { errnoName } from '../abi/errno.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { HostStatus } from '../host/administration.ts'
import { readOnlyMemfd } from '../host/memfd.ts'
import { choosePlatform } from '../platform-choice.ts'
import { type DoctorRow, doctorRows, MODULE_ROW, type Probes } from './doctor-rows.ts'
import { EXIT, reported, strict } from './usage.ts'

interface DoctorFlags {
  readonly host?: string
  readonly json?: boolean
}

/** `interdom doctor`: what is here, and the fix for what is missing. */
export function doctorCommand(): Command {
  return strict(new Command('doctor'))
    .description('say what this machine has for Xen, for a host and for the test bed')
    .option('--host <dir>', 'look for a host in this directory')
    .option('--json', 'print the rows as JSON')
    .addHelpText(
      'after',
      '\nExits 0 when programs can run here, on Xen or on a host; 1 when they cannot.',
    )
    .action((flags: DoctorFlags, command: Command) =>
      reported(command, async () => {
        const rows = await doctorRows(await realProbes(flags.host))
        process.stdout.write(flags.json ? `${JSON.stringify(rows, null, 2)}\n` : doctorText(rows))
        if (!isUsable(rows)) process.exitCode = EXIT.failed
      }),
    )
}

const TITLES: Readonly<Record<DoctorRow['group'], string>> = {
  node: 'Needed by everything',
  xen: 'Real Xen: the devices of a domain',
  host: 'A host: a simulated machine, without Xen',
  testbed: 'The test bed: Xen in an emulated machine',
  choice: 'What connect() takes here',
}

/** The rows as people read them. */
export function doctorText(rows: readonly DoctorRow[]): string {
  const width = Math.max(...rows.map(({ name }) => name.length))
  const parts: string[] = []
  let group: string | undefined
  for (const row of rows) {
    if (row.group !== group) parts.push(`${parts.length > 0 ? '\n' : ''}${TITLES[row.group]}\n`)
    group = row.group
    parts.push(`  ${row.ok ? 'ok     ' : 'missing'}  ${row.name.padEnd(width)}  ${row.found}\n`)
    if (row.fix !== undefined) parts.push(`  ${' '.repeat(9)}${' '.repeat(width)}  → ${row.fix}\n`)
  }
  return parts.join('')
}

/**
 * Whether a program can run here in either way. That no host runs yet is no hindrance, and what one
 * of its domains lacks is no matter of the others.
 */
export function isUsable(rows: readonly DoctorRow[]): boolean {
  const isFine = (group: DoctorRow['group'], ...except: readonly string[]) =>
    rows.every(row => row.group !== group || row.ok || except.includes(row.name))
  return isFine('node') && (isFine('xen') || isFine('host', 'host', MODULE_ROW))
}

async function realProbes(host: string | undefined): Promise<Probes> {
  const { missingTools, missingToolsMessage, buildTools, runTools } = await import(
    '../testbed/tools.ts'
  )
  return {
    nodeVersion: process.version,
    architecture: process.arch,
    osPlatform: process.platform,
    libc: libc(),
    uid: process.getuid?.() ?? 0,
    readFile,
    access: path => codeOf(() => accessSync(path, constants.R_OK | constants.W_OK)),
    native,
    seals,
    host: () => hostProbe(host),
    choice,
    testbed: () => {
      const missing = missingTools([...new Set([...buildTools, ...runTools])])
      return missing.length > 0 ? missingToolsMessage('The test bed', missing) : undefined
    },
  }
}

function readFile(path: string): { readonly text: string } | { readonly code: string } {
  try {
    return { text: readFileSync(path, 'utf8').trim() }
  } catch (error) {
    return { code: (error as NodeJS.ErrnoException).code ?? 'EIO' }
  }
}

function codeOf(action: () => unknown): string | undefined {
  try {
    action()
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'EIO'
  }
}

function libc(): string | undefined {
  const report = process.report?.getReport() as { header?: Record<string, unknown> } | undefined
  const { glibcVersionRuntime: glibc } = report?.header ?? {}
  if (typeof glibc === 'string') return `glibc ${glibc}`
  const isMusl = codeOf(() => {
    if (!readdirSync('/lib').some(name => name.startsWith('ld-musl-'))) throw new Error('no musl')
  })
  return isMusl === undefined ? 'musl' : undefined
}

async function native(): Promise<string | undefined> {
  try {
    const { koffi } = await import('../native/koffi.ts')
    koffi()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function choice(): { readonly found: string } | { readonly trouble: string } {
  const type = readFile('/sys/hypervisor/type')
  const hypervisorType = 'text' in type ? type.text : undefined
  try {
    const chosen = choosePlatform({}, { env: process.env, hypervisorType })
    if (chosen.kind !== 'host') return { found: 'the real devices of this domain' }
    return { found: `domain ${chosen.domid} of the host in ${chosen.directory}` }
  } catch (error) {
    return { trouble: error instanceof Error ? error.message : String(error) }
  }
}

async function hostProbe(host: string | undefined): ReturnType<Probes['host']> {
  const { hostDirectory, recordPath } = await import('../host/directory.ts')
  const { giveOrder } = await import('../host/orders.ts')
  const { WIRE_VERSION } = await import('../host/wire.ts')
  const { SOCKET_PATH_MAX } = await import('../host/limits.ts')
  const directory = resolve(hostDirectory(host))
  const known = {
    directory,
    trouble: directoryTrouble(directory),
    ownVersion: WIRE_VERSION,
    pathBytes: Buffer.byteLength(`${directory}/domain-32751`),
    pathBytesMax: SOCKET_PATH_MAX,
  }
  try {
    const { pid, kernel, domains } = giveOrder(directory, { order: 'status' }) as HostStatus
    const count = domains.length === 1 ? '1 domain' : `${domains.length} domains`
    const { version } = JSON.parse(readFileSync(recordPath(directory), 'utf8'))
    const missingModules = domains.flatMap(({ domid, missingModules }) =>
      missingModules.map(module => ({ domid, module })),
    )
    const running = `pid ${pid}, kernel ${kernel}, ${count}`
    return { ...known, running, version, missingModules }
  } catch {
    return { ...known, running: undefined, version: undefined, missingModules: [] }
  }
}

/** What keeps a host from living there. That the directory is not there yet is no hindrance. */
function directoryTrouble(directory: string): string | undefined {
  try {
    const stat = lstatSync(directory)
    if (!stat.isDirectory()) return 'not a directory'
    if (stat.uid !== process.getuid?.()) return `belongs to uid ${stat.uid}`
    // 0711 is left of a host that gave a domain to another user.
    if ((stat.mode & 0o066) !== 0) return 'others may enter it: chmod 0700'
    return codeOf(() => accessSync(directory, constants.W_OK | constants.X_OK))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT') return code
    const parent = dirname(directory)
    return parent === directory ? code : parentTrouble(parent)
  }
}

/** A directory that is to be made: in the first one above it that is there. */
function parentTrouble(parent: string): string | undefined {
  const code = codeOf(() => accessSync(parent, constants.W_OK | constants.X_OK))
  if (code === 'ENOENT' && dirname(parent) !== parent) return parentTrouble(dirname(parent))
  return code === undefined ? undefined : `${code} at ${parent}, where it would be made`
}

function seals(): string | undefined {
  const made = readOnlyMemfd('interdom-doctor', PAGE_SIZE)
  if (typeof made === 'number') return errnoName(made)
  made.close()
  return undefined
}
