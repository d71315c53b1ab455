import { readdirSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isRealDomid } from '../abi/domid.ts'
import type { Domain } from '../kernel/domain.ts'
import type { ProfileName } from '../kernel/profiles.ts'
import { isProfileName, PROFILE_NAMES } from '../kernel/profiles.ts'
import { inspect } from './inspection.ts'
import type { Server } from './server.ts'

/** An order on the control socket: plain JSON, one object. */
export type Order =
  | { readonly order: 'status' }
  | { readonly order: 'stop' }
  | {
      readonly order: 'domain'
      readonly domid?: number
      readonly kernel?: ProfileName
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
  /** Bytes of JavaScript objects. */
  readonly heapUsed: number
  readonly chunks: number
  readonly ports: number
}

/** The answer to an order: what was asked for, or one sentence that says what was wrong. */
export type OrderAnswer = { readonly ok: unknown } | { readonly error: string }

/** Carries out an order. What it is given may be any JSON at all. */
export function administer(server: Server, request: unknown): OrderAnswer {
  try {
    return carryOut(server, request)
  } catch (error) {
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
    case 'advance':
      return advance(server, order['ms'])
    case 'leftovers':
      return { ok: server.machine.leftovers() }
    case 'usage':
      return { ok: usageOf(server) }
    case 'inspect':
      return { ok: inspect(server.machine) }
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
  }))
  const { directory, kernel, clock } = server.options
  return { pid: process.pid, directory, kernel, clock, domains }
}

function usageOf(server: Server): HostUsage {
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  return {
    descriptors: readdirSync('/proc/self/fd').length,
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

function makeDomain(server: Server, order: Record<string, unknown>): OrderAnswer {
  const kernel = order['kernel'] as string | undefined
  if (kernel !== undefined && !isProfileName(kernel)) {
    return { error: `no kernel ${JSON.stringify(kernel)}; there are ${PROFILE_NAMES.join(', ')}` }
  }
  const options = { stays: order['stays'] === true, ...(kernel === undefined ? {} : { kernel }) }
  const { uid } = order
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
  return withDomid(order, domid => {
    const domain = server.machine.domain(domid)
    const limits = domain?.limits as unknown as Record<string, number> | undefined
    const { limit, value } = order
    if (!limits) return { error: `there is no domain ${domid}` }
    if (typeof limit !== 'string' || !Object.hasOwn(limits, limit)) {
      return {
        error: `no limit ${JSON.stringify(limit)}; there are ${Object.keys(limits).join(', ')}`,
      }
    }
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) {
      return { error: `${limit} takes a whole number from 0 up, not ${JSON.stringify(value)}` }
    }
    limits[limit] = value
    server.publishLimits(domain as Domain)
    return { ok: value }
  })
}

function advance(server: Server, ms: unknown): OrderAnswer {
  if (server.options.clock !== 'manual') return { error: 'the clock of this host is real' }
  if (typeof ms !== 'number' || !(ms >= 0 && ms <= 86_400_000)) {
    return { error: `advance takes 0 to 86400000 ms, not ${JSON.stringify(ms)}` }
  }
  server.clock.advance(ms)
  return { ok: server.clock.now() }
}
