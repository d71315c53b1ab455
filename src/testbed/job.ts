import { createReadStream, createWriteStream, existsSync, readFileSync } from 'node:fs'
import { mkdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { type DomainName, domainNames } from './domain-names.ts'
import { execute } from './process.ts'
import { steadyClock, unmitigated } from './qemu.ts'

/** The unit in which dom0 reads the payload. */
const payloadBlock = 64 * 1024

/** What dom0 is to do, as files in the folder that it has as /host. */
export interface Job {
  commands: ReadonlyMap<DomainName, string>
  guests: number
  /** Megabytes of each guest. */
  guestMemory: number
  guestKernelArgs: string
  /** More lines for the guests' xl configuration. */
  guestConfig: readonly string[]
}

/** How the job went, as far as dom0 has said. */
export interface JobState {
  finished: boolean
  /** The exit code and the reason of a set-up that failed. */
  failure: { exitCode: number; reason: string } | undefined
  exits: ReadonlyMap<DomainName, number>
}

/** Makes the folder for the job and clears away what an earlier run has left. */
export async function prepareJob(host: string): Promise<void> {
  for (const name of ['.job', 'log', 'console.log', 'qemu.log', ...domainNames.flatMap(streams)]) {
    await rm(join(host, name), { recursive: true, force: true })
  }
  await mkdir(jobFolder(host))
  await mkdir(join(host, 'log'))
}

/**
 * Packs the payload's folder, if there is one, and gives the archives' path:
 *
 *     | what every domain gets, .tar.gz | what dom0 alone gets, .tar.gz | zeros
 *     0                                 a                               a + b   blocks
 *
 * The file is as large as what it unpacks to, whatever it holds: the domains' memory is measured by
 * it. It is compressed since the way into a guest is a slow one, and the latter is what lies in the
 * folder's own `dom0`.
 * @param step - The file's size is a multiple of it; what a saved machine knows of its disk must
 * fit the next payload too.
 */
export async function packPayload(
  host: string,
  payload: string | undefined,
  step: number,
): Promise<string> {
  const packed = join(jobFolder(host), 'payload')
  await rm(packed, { force: true })
  const own = payload !== undefined && existsSync(join(payload, 'dom0')) ? ['./dom0'] : undefined
  const blocks: number[] = []
  let unpacked = 0
  for (const what of [payload && ['--exclude=./dom0', '.'], own]) {
    const files = payload !== undefined && what ? ['-C', payload, ...what] : ['-T', '/dev/null']
    unpacked += await appendArchive(files, packed)
    const { size } = await stat(packed)
    const end = Math.ceil(size / payloadBlock)
    blocks.push(end - blocks.reduce((sum, count) => sum + count, 0))
    await truncate(packed, end * payloadBlock)
  }
  await writeFile(join(jobFolder(host), 'payload-blocks'), `${blocks.join(' ')}\n`)
  const { size } = await stat(packed)
  await truncate(packed, Math.ceil(Math.max(unpacked, size) / step) * step)
  return packed
}

/** Packs files and puts the archive behind what there is; answers how many bytes it unpacks to. */
async function appendArchive(files: readonly string[], packed: string): Promise<number> {
  const tar = `${packed}.tar`
  const owner = ['--owner=0', '--group=0', '--numeric-owner']
  await execute('tar', ['-c', ...owner, '-f', tar, ...files])
  await pipeline(createReadStream(tar), createGzip(), createWriteStream(packed, { flags: 'a' }))
  const { size } = await stat(tar)
  await rm(tar)
  return size
}

/** A file there makes dom0 wait after its boot, to be saved. */
export function snapshotMark(host: string): string {
  return join(jobFolder(host), 'snapshot')
}

/** Whether dom0 has noticed that it goes on from a saved state. */
export function isRestored(host: string): boolean {
  return existsSync(join(jobFolder(host), 'restored'))
}

/** Writes the job's files. */
export async function writeJob(host: string, job: Job): Promise<void> {
  const folder = jobFolder(host)
  await writeFile(join(folder, 'guests'), `${job.guests}\n`)
  await writeFile(join(folder, 'now'), `${Math.floor(Date.now() / 1000)}\n`)
  for (const [domain, command] of job.commands) {
    await writeFile(join(folder, `${domain}.sh`), `${command}\n`)
  }
  for (const domain of domainNames.slice(1, job.guests + 1)) {
    await writeFile(join(folder, `${domain}.cfg`), guestConfiguration(domain, job))
  }
}

export function readJob(host: string): JobState {
  const folder = jobFolder(host)
  const [, code, reason = ''] = /^(\d+) (.*)/.exec(contentOf(join(folder, 'failure'))) ?? []
  const exits = new Map<DomainName, number>()
  for (const domain of domainNames) {
    const text = contentOf(join(folder, `${domain}.exit`))
    if (text !== '') exits.set(domain, Number.parseInt(text, 10))
  }
  return {
    finished: existsSync(join(folder, 'finished')),
    failure: code === undefined ? undefined : { exitCode: Number(code), reason },
    exits,
  }
}

export async function removeJob(host: string): Promise<void> {
  await rm(jobFolder(host), { recursive: true, force: true })
}

/** The xl configuration (xl.cfg(5)) of a guest; the paths are dom0's. */
export function guestConfiguration(domain: DomainName, job: Job): string {
  const fixed = `console=hvc0 quiet interdom.testbed=${domain} ${unmitigated} ${steadyClock}`
  const extra = `${fixed} ${job.guestKernelArgs}`.trim()
  const lines = [
    `name = "${domain}"`,
    'type = "pv"',
    'kernel = "/tmp/vmlinux"',
    'ramdisk = "/tmp/root.cpio"',
    `extra = "${extra}"`,
    `memory = ${job.guestMemory}`,
    'vcpus = 1',
    // By default Xen traps each reading of the counter, which it finds unsteady on this processor
    // (xl.cfg(5); tsc_set_info in xen/arch/x86/time.c).
    'tsc_mode = "native"',
    'vif = ["script=/etc/xen/scripts/vif-testbed"]',
    // A guest that stops stays away: a new one would have another domid.
    ...['on_poweroff', 'on_reboot', 'on_crash'].map(event => `${event} = "destroy"`),
    ...job.guestConfig,
  ]
  return `${lines.join('\n')}\n`
}

/** Names of the files with a domain's output. */
export function streams(domain: DomainName): [stdout: string, stderr: string] {
  return [`${domain}.stdout`, `${domain}.stderr`]
}

function jobFolder(host: string): string {
  return join(host, '.job')
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
