import { readdirSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isRealDomid } from '../abi/domid.ts'
import { ERRNO } from '../abi/errno.ts'
import { type ModuleName, moduleNamed } from '../abi/modules.ts'
import type { ErrorFacts } from '../base/errors.ts'
import type { Domain } from '../kernel/domain.ts'
import { type DomainLimits, isLimitName, LIMIT_NAMES } from '../kernel/limits.ts'
import type { ProfileName } from '../kernel/profiles.ts'
import { isProfileName, PROFILE_NAMES } from '../kernel/profiles.ts'
import { TurnedAway } from './doors.ts'
import { inspect } from './inspection.ts'
import type { Server } from './server.ts'

/** An order on the control socket: plain JSON, one object. */
export type Order =
  | { readonly order: 'status' }
  | { readonly order: 'stop' }
  | {
      readonly order: 'domain'
      readonly domid?: number
      readonly kind?: 'pv' | 'hvm'
      readonly kernel?: ProfileName
      /** By name: `{ 'gntalloc.limit': 8 }`. */
      readonly limits?: Readonly<Record<string, number>>
      /** Those that its kernel has loaded; default all. */
      readonly modules?: readonly ModuleName[]
      /** It stays without a process; otherwise it goes with its last one. */
      readonly stays?: boolean
      /** The user whose processes it has, instead of the host's own; it stays. */
      readonly uid?: number
    }
  | { readonly order: 'destroy'; readonly domid: number }
  | {
      readonly order: 'set'
      readonly domid: number
      readonly limit: string
      readonly value: number
    }
  | { readonly order: 'load' | 'unload'; readonly domid: number; readonly module: ModuleName }
  | { readonly order: 'advance'; readonly ms: number }
  | { readonly order: 'leftovers' }
  | { readonly order: 'inspect' }
  | { readonly order: 'usage' }

/** A domain of a host, as `interdom host status --json` shows it. */
export interface DomainStatus {
  readonly domid: number
  readonly kind: string
  readonly kernel: string
  readonly pids: readonly number[]
  readonly limits: Readonly<Record<string, number>>
  /** Modules that its kernel has not loaded. */
  readonly missingModules: readonly ModuleName[]
}

/** A host and its domains. */
export interface HostStatus {
  readonly pid: number
  readonly directory: string
  readonly kernel: string
  readonly clock: string
  readonly domains: readonly DomainStatus[]
}

/** What a host itself takes of its machine, after a garbage collection. */
export interface HostUsage {
  readonly descriptors: number
  /** Descriptors that count against domains. */
  readonly booked: number
  /** Bytes of JavaScript objects. */
  readonly heapUsed: number
  readonly chunks: number
  readonly ports: number
}

/**
 * The answer to an order: what was asked for, or one sentence that says what was wrong, with an
 * errno, where it is not EINVAL, and facts where a limit was hit.
 */
export type OrderAnswer =
  | { readonly ok: unknown }
  | { readonly error: string; readonly errno?: number; readonly facts?: ErrorFacts }

/** Carries out an order. What it is given may be any JSON at all. */
export function administer(server: Server, request: unknown): OrderAnswer {
  try {
    return carryOut(server, request)
  } catch (error) {
    if (error instanceof TurnedAway) {
      return { error: error.message, errno: error.errno, facts: error.facts }
    }
    return { error: error instanceof Error ? error.message : String(error) }
  }
}

function carryOut(server: Server, request: unknown): OrderAnswer {
  if (typeof request !== 'object' || request === null) return { error: 'an order is an object' }
  const order = request as Record<string, unknown>
  switch (order['order']) {
    case 'status':
      return { ok: statusOf(server) }
    case 'stop':
      server.stop()
      return { ok: true }
    case 'domain':
      return makeDomain(server, order)
    case 'destroy':
      return withDomid(order, domid =>
        server.destroy(domid) ? { ok: true } : { error: `there is no domain ${domid}` },
      )
    case 'set':
      return setLimit(server, order)
    case 'load':
      return loadModule(server, order)
    case 'unload':
      return unloadModule(server, order)
    case 'advance':
      return advance(server, order['ms'])
    case 'leftovers':
      return { ok: server.machine.leftovers() }
    case 'usage':
      return { ok: usageOf(server) }
    case 'inspect':
      return { ok: inspect(server.machine, server.budget) }
    default:
      return { error: `unknown order ${JSON.stringify(order['order'])}` }
  }
}

function statusOf(server: Server): HostStatus {
  const domains = [...server.machine.domains()].map(domain => ({
    domid: domain.domid,
    kind: domain.kind,
    kernel: domain.profile.name,
    pids: [...domain.processes].map(({ pid }) => pid),
    limits: { ...domain.limits },
    missingModules: domain.modules.missing,
  }))
  const { directory, kernel, clock } = server.options
  return { pid: process.pid, directory, kernel, clock, domains }
}

function usageOf(server: Server): HostUsage {
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    booked: server.budget.descriptors,
    heapUsed: process.memoryUsage().heapUsed,
    chunks: server.chunks.size,
    ports: server.links.size,
  }
}

function withDomid(
  order: Record<string, unknown>,
  then: (domid: number) => OrderAnswer,
): OrderAnswer {
  const domid = order['domid']
  if (typeof domid !== 'number' || !isRealDomid(domid)) {
    return { error: `${JSON.stringify(domid)} is no domid: 0 to 32751 are` }
  }
  return then(domid)
}

function withDomain(
  server: Server,
  order: Record<string, unknown>,
  then: (domain: Domain) => OrderAnswer,
): OrderAnswer {
  return withDomid(order, domid => {
    const domain = server.machine.domain(domid)
    return domain ? then(domain) : { error: `there is no domain ${domid}` }
  })
}

function makeDomain(server: Server, order: Record<string, unknown>): OrderAnswer {
  const kernel = order['kernel'] as string | undefined
  if (kernel !== undefined && !isProfileName(kernel)) {
    return { error: `no kernel ${JSON.stringify(kernel)}; there are ${PROFILE_NAMES.join(', ')}` }
  }
  const { uid } = order
  const kind = order['kind'] as 'pv' | 'hvm' | undefined
  if (kind !== undefined && kind !== 'pv' && kind !== 'hvm') {
    return { error: `no kind ${JSON.stringify(kind)}; there are pv, hvm` }
  }
  const limits: Record<string, number> = {}
  for (const [limit, value] of Object.entries(order['limits'] ?? {})) {
    const trouble = limitTrouble(limit, value)
    if (trouble !== undefined) return { error: trouble }
    limits[limit] = value as number
  }
  const { modules } = order
  if (modules !== undefined && !Array.isArray(modules)) {
    return { error: `${JSON.stringify(modules)} is no list of modules` }
  }
  const options = {
    stays: order['stays'] === true,
    limits,
    ...(modules === undefined ? {} : { modules: modules.map(moduleNamed) }),
    ...(kernel === undefined ? {} : { kernel }),
    ...(kind === undefined ? {} : { kind }),
  } as const
  if (uid !== undefined && !(typeof uid === 'number' && Number.isInteger(uid) && uid >= 0)) {
    return { error: `${JSON.stringify(uid)} is no uid` }
  }
  const make = (domid: number | undefined): OrderAnswer => {
    const domain = server.domain(domid, options)
    if (uid !== undefined) server.give(domain, uid)
    return { ok: domain.domid }
  }
  return order['domid'] === undefined ? make(undefined) : withDomid(order, make)
}

function setLimit(server: Server, order: Record<string, unknown>): OrderAnswer {
  return withDomain(server, order, domain => {
    const { limit, value } = order
    const trouble = limitTrouble(limit, value)
    if (trouble !== undefined) return { error: trouble }
    domain.limits[limit as keyof DomainLimits] = value as number
    server.limitPages.publish(domain)
    return { ok: value }
  })
}

function loadModule(server: Server, order: Record<string, unknown>): OrderAnswer {
  return withDomain(server, order, ({ modules }) => {
    modules.load(moduleNamed(order['module']))
    return { ok: true }
  })
}

function unloadModule(server: Server, order: Record<string, unknown>): OrderAnswer {
  return withDomain(server, order, ({ modules }) => {
    const trouble = modules.unload(moduleNamed(order['module']))
    return trouble === undefined ? { ok: true } : { error: trouble, errno: ERRNO.EBUSY }
  })
}

/** Why a limit cannot be set so, or undefined. */
function limitTrouble(limit: unknown, value: unknown): string | undefined {
  if (typeof limit !== 'string' || !isLimitName(limit)) {
    return `no limit ${JSON.stringify(limit)}; there are ${LIMIT_NAMES.join(', ')}`
  }
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return undefined
  return `${limit} takes a whole number from 0 up, not ${JSON.stringify(value)}`
}

function advance(server: Server, ms: unknown): OrderAnswer {
  if (server.options.clock !== 'manual') return { error: 'the clock of this host is real' }
  if (typeof ms !== 'number' || !(ms >= 0 && ms <= 86_400_000)) {
    return { error: `advance takes 0 to 86400000 ms, not ${JSON.stringify(ms)}` }
  }
  server.clock.advance(ms)
  return { ok: server.clock.now() }
}
