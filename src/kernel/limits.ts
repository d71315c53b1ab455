import { FIFO_PORTS_MAX } from '../abi/event-channel.ts'
import {
  ENTRIES_PER_FRAME,
  HANDLES_PER_FRAME,
  MAX_GRANT_FRAMES,
  MAX_MAPTRACK_FRAMES,
} from '../abi/grant-table.ts'
import type { ErrorFacts } from '../base/errors.ts'
import type { HypervisorLimits } from '../hypervisor/limits.ts'
import type { KernelProfile } from './profiles.ts'

/** What a person may limit: module parameters of the kernel, and what the toolstack sets. */
export interface DomainLimits extends HypervisorLimits {
  /** Pages that gntalloc has granted, over all descriptors of the domain. */
  'gntalloc.limit': number
  /** Pages of one MAP_GRANT_REF, or of all maps together (`limitsEachMap`). */
  'gntdev.limit': number
  /** Descriptors of one process, as RLIMIT_NOFILE. */
  maxFiles: number
  /** Open files of all its processes, as fs.file-max. */
  maxDomainFiles: number
  /** What MAP_GRANT_REF made and nobody let go, over all processes. */
  maxMaps: number
  /** Pages of these. */
  maxMapPages: number
  /** Pieces of device memory in the memory maps of all processes (VMAs). */
  maxMappings: number
  /** Processes at a time. */
  maxProcesses: number
  /** Pages of shared memory that its processes granted, or can reach. */
  maxMemory: number
}

/** How much of what is counted in the model itself a domain has. */
export interface DomainUsage {
  maps: number
  mapPages: number
  mappings: number
}

/** xl's max_event_channels; dom0 has as many as the FIFO ABI can name. */
const GUEST_PORTS_MAX = 1023

/** The limits of a domain unless somebody says otherwise. */
export function defaultLimits(domid: number, profile: KernelProfile): DomainLimits {
  return {
    // Defaults of the modules' parameters `limit`.
    'gntalloc.limit': 1024,
    'gntdev.limit': profile.gntdevLimit,
    maxGrantFrames: MAX_GRANT_FRAMES,
    maxMaptrackFrames: MAX_MAPTRACK_FRAMES,
    maxEventChannels: domid === 0 ? FIFO_PORTS_MAX - 1 : GUEST_PORTS_MAX,
    maxFiles: 4096,
    maxDomainFiles: 16_384,
    // A map of one page costs some 500 bytes of the kernel's, a page of a long one eight.
    maxMaps: 262_144,
    maxMapPages: 1_048_576,
    maxMappings: 262_144,
    maxProcesses: 1024,
    // 2 GiB: a page and a port for each of 1000 peers take half of that on a host.
    maxMemory: 524_288,
  }
}

/** How each limit is spoken of: a name, and what stands behind its value. */
const WORDS: Readonly<Record<keyof DomainLimits, readonly [limit: string, unit: string]>> = {
  'gntalloc.limit': ['gntalloc limit', 'pages'],
  'gntdev.limit': ['gntdev limit', 'pages a call'],
  maxGrantFrames: ['grant table of', `frames of ${ENTRIES_PER_FRAME} refs`],
  maxMaptrackFrames: ['maptrack table of', `frames of ${HANDLES_PER_FRAME} mappings`],
  maxEventChannels: ['limit of', 'ports'],
  maxFiles: ['limit of', 'open files a process'],
  maxDomainFiles: ['limit of', 'open files'],
  maxMaps: ['limit of', 'maps of gntdev'],
  maxMapPages: ['limit of', 'pages in maps of gntdev'],
  maxMappings: ['limit of', 'mappings'],
  maxProcesses: ['limit of', 'processes'],
  maxMemory: ['limit of', 'pages of shared memory'],
}

/** What can be set, by name. */
export const LIMIT_NAMES: readonly (keyof DomainLimits)[] = Object.keys(
  WORDS,
) as (keyof DomainLimits)[]

export function isLimitName(name: string): name is keyof DomainLimits {
  return Object.hasOwn(WORDS, name)
}

/** Who is limited: a domain, or what stands for it. */
interface Limited {
  readonly domid: number
  readonly limits: DomainLimits
}

/** For a person: which limit of a domain was hit, how much of it is used, and its knob. */
export function limitFacts(
  { domid, limits }: Limited,
  knob: keyof DomainLimits,
  used: number | undefined,
  wanted: number,
): ErrorFacts {
  const [limit, unit] = WORDS[knob]
  return {
    limit,
    limitValue: limits[knob],
    limitUnit: `${unit} in domain ${domid}`,
    knob,
    ...(used === undefined ? {} : { used }),
    wanted,
    fix: `raise ${knob} of domain ${domid}`,
  }
}

/** The unit in which a limit counts. */
export function limitUnit(knob: keyof DomainLimits): string {
  return WORDS[knob][1]
}
