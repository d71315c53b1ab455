import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import type { DomainSeen } from '../host/index.ts'
import { directoryOf, missingModulesText } from './host.ts'
import { reported, strict } from './usage.ts'

const WATCH_INTERVAL_MS = 1000
/** Home, and clear what is below: the new picture is drawn over the old one. */
const REDRAW = '\u001b[H\u001b[J'

interface LsFlags {
  readonly dir?: string
  readonly json?: boolean
  readonly watch?: boolean
}

/** `interdom ls`: who is on the host, what is granted, who maps it, which ports are bound. */
export function lsCommand(): Command {
  return strict(new Command('ls'))
    .description('domains of a host: processes, limits and their use, grants, mappings, ports')
    .option('--dir <dir>', 'directory of the host (default: INTERDOM_HOST, else the usual one)')
    .option('--json', 'as JSON; with --watch a line for each look')
    .option('--watch', 'again every second, until interrupted')
    .action((flags: LsFlags, command: Command) =>
      reported(command, async () => {
        const { giveOrder } = await import('../host/index.ts')
        const directory = await directoryOf(flags)
        const look = (): DomainSeen[] => giveOrder(directory, { order: 'inspect' }) as DomainSeen[]
        if (flags.watch) await watch(look, flags)
        else process.stdout.write(flags.json ? json(look(), 2) : lsText(look()))
      }),
    )
}

async function watch(look: () => DomainSeen[], flags: LsFlags): Promise<void> {
  const stop = new AbortController()
  void once(process, 'SIGINT').then(() => stop.abort())
  while (!stop.signal.aborted) {
    const text = flags.json ? json(look()) : lsText(look())
    process.stdout.write(flags.json || !process.stdout.isTTY ? text : `${REDRAW}${text}`)
    await delay(WATCH_INTERVAL_MS, undefined, { signal: stop.signal }).catch(() => undefined)
  }
}

function json(domains: readonly DomainSeen[], indent?: number): string {
  return `${JSON.stringify(domains, null, indent)}\n`
}

/** The domains as people read them. */
export function lsText(domains: readonly DomainSeen[]): string {
  return domains.length === 0 ? 'no domains\n' : domains.map(domainText).join('')
}

function domainText(domain: DomainSeen): string {
  const { domid, kind, kernel, pids, counts } = domain
  const who = pids.length === 0 ? 'no process' : `processes ${pids.join(' ')}`
  const lines = [
    `domain ${domid}  ${kind}  ${kernel}  ${domain.isDying ? 'destroyed, still mapped' : who}`,
    ...missingModulesText(domain.missingModules),
    ...domain.limits.map(({ name, unit, used, limit }) =>
      used === undefined ? `${name}: ${limit} ${unit}` : `${name}: ${used} of ${limit} ${unit}`,
    ),
    ...domain.grants.map(
      ({ ref, to, isMapped, pid }) =>
        `grant ${ref} to domain ${to}, ${isMapped ? 'mapped' : 'not mapped'}, ` +
        (pid === undefined ? 'taken back' : `pid ${pid}`),
    ),
    ...cut(counts.grants, domain.grants.length, 'grants'),
    ...domain.mappings.map(
      ({ domid: owner, ref, isWritable }) =>
        `maps grant ${ref} of domain ${owner}, ${isWritable ? 'writable' : 'read-only'}`,
    ),
    ...cut(counts.mappings, domain.mappings.length, 'mappings'),
    ...domain.ports.map(portText),
    ...cut(counts.ports, domain.ports.length, 'ports'),
  ]
  return `${lines.join('\n  ')}\n`
}

function portText({ port, state, peer }: DomainSeen['ports'][number]): string {
  if (!peer) return `port ${port} ${state}`
  if (peer.port === undefined) return `port ${port} waits for domain ${peer.domid}`
  return `port ${port} connected to port ${peer.port} of domain ${peer.domid}`
}

function cut(count: number, listed: number, what: string): string[] {
  return count > listed ? [`… ${count - listed} more ${what}`] : []
}
