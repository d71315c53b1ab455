import { EVTCHNSTAT } from '../abi/event-channel.ts'
import { ENTRIES_PER_FRAME, HANDLES_PER_FRAME } from '../abi/grant-table.ts'
import type { ModuleName } from '../abi/modules.ts'
import type { Domain } from '../kernel/domain.ts'
import { type DomainLimits, LIMIT_NAMES, limitUnit } from '../kernel/limits.ts'
import type { Machine } from '../kernel/machine.ts'
import type { Budget } from './budget.ts'
import { INSPECTED_MAX } from './limits.ts'

type LimitName = keyof DomainLimits

/** A limit of a domain, and how much of it is used, in its own unit. */
export interface LimitUse {
  readonly name: string
  readonly unit: string
  /** Not there where the limit is that of one process or one call. */
  readonly used?: number
  readonly limit: number
}

/** A page that a domain granted. */
export interface GrantSeen {
  readonly ref: number
  readonly to: number
  readonly isMapped: boolean
  /** The process that granted it; none once it is only waiting for its mapper. */
  readonly pid?: number
}

/** A page of another domain, or of its own, that a domain maps. */
export interface MappingSeen {
  readonly domid: number
  readonly ref: number
  readonly isWritable: boolean
}

/** A port that a program bound. */
export interface PortSeen {
  readonly port: number
  readonly state: 'unbound' | 'interdomain' | 'virq' | 'other'
  readonly peer?: { readonly domid: number; readonly port?: number }
}

/** All that can be seen of a domain. Long lists are cut; `counts` are whole. */
export interface DomainSeen {
  readonly domid: number
  readonly kind: string
  readonly kernel: string
  readonly isDying: boolean
  readonly pids: readonly number[]
  /** Modules that its kernel has not loaded. */
  readonly missingModules: readonly ModuleName[]
  readonly limits: readonly LimitUse[]
  readonly grants: readonly GrantSeen[]
  readonly mappings: readonly MappingSeen[]
  readonly ports: readonly PortSeen[]
  readonly counts: { readonly grants: number; readonly mappings: number; readonly ports: number }
}

/** Reads what is there; nothing is disturbed. */
export function inspect(machine: Machine, budget: Budget): DomainSeen[] {
  return [...machine.domains()].map(domain => {
    const grants = grantsOf(domain)
    const mappings = mappingsOf(domain)
    const ports = portsOf(domain)
    return {
      domid: domain.domid,
      kind: domain.kind,
      kernel: domain.profile.name,
      isDying: domain.isDying,
      pids: [...domain.processes].map(({ pid }) => pid),
      missingModules: domain.modules.missing,
      limits: limitsOf(domain, budget.memoryOf(domain.domid)),
      grants: grants.slice(0, INSPECTED_MAX),
      mappings: mappings.slice(0, INSPECTED_MAX),
      ports: ports.slice(0, INSPECTED_MAX),
      counts: { grants: grants.length, mappings: mappings.length, ports: ports.length },
    }
  })
}

/** What each limit counts now; those of one process or one call have no such number. */
function usesOf(domain: Domain, memory: number): Readonly<Partial<Record<LimitName, number>>> {
  const { grefs, xen, usage, files, processes } = domain
  return {
    'gntalloc.limit': grefs.pagesInUse,
    maxGrantFrames: Math.ceil(xen.grants.size / ENTRIES_PER_FRAME),
    maxMaptrackFrames: Math.ceil(xen.maptrack.used / HANDLES_PER_FRAME),
    maxEventChannels: xen.channels.used,
    maxDomainFiles: files.size,
    maxMaps: usage.maps,
    maxMapPages: usage.mapPages,
    maxMappings: usage.mappings,
    maxProcesses: processes.size,
    maxMemory: memory,
  }
}

function limitsOf(domain: Domain, memory: number): LimitUse[] {
  const uses = usesOf(domain, memory)
  return LIMIT_NAMES.map(name => {
    const used = uses[name]
    const limit = { name, unit: limitUnit(name), limit: domain.limits[name] }
    return used === undefined ? limit : { ...limit, used }
  })
}

function grantsOf({ grefs, grantRefs, xen }: Domain): GrantSeen[] {
  const seen = (ref: number): GrantSeen => ({
    ref,
    to: xen.grants.grantee(ref),
    isMapped: xen.grants.isInUse(ref),
  })
  return [
    ...[...grefs.live()].map(({ ref, pid }) => ({ ...seen(ref), pid })),
    ...grantRefs.deferred.map(seen),
  ]
}

/** A pv page takes two handles: it is one mapping for whoever looks. */
function mappingsOf({ kind, xen }: Domain): MappingSeen[] {
  const all = [...xen.maptrack.handles()].map(handle => ({
    domid: xen.maptrack.domid(handle),
    ref: xen.maptrack.ref(handle),
    isWritable: xen.maptrack.isWritable(handle),
  }))
  return kind === 'pv' ? all.filter((_, i) => i % 2 === 0) : all
}

function portsOf({ ports, xen }: Domain): PortSeen[] {
  return [...ports.held()].map(({ port }) => {
    const domid = xen.channels.peerDomid(port)
    switch (xen.channels.state(port)) {
      case EVTCHNSTAT.unbound:
        return { port, state: 'unbound', peer: { domid } }
      case EVTCHNSTAT.interdomain:
        return { port, state: 'interdomain', peer: { domid, port: xen.channels.peerPort(port) } }
      case EVTCHNSTAT.virq:
        return { port, state: 'virq' }
      default:
        return { port, state: 'other' }
    }
  })
}
