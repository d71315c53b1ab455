import { readdirSync } from 'node:fs'
import type { ErrorFacts } from '../base/errors.ts'
import { getDescriptorLimit } from '../native/process.ts'
import { DESCRIPTORS_MAX, DESCRIPTORS_RESERVE } from './limits.ts'

/** For a person: this process, a host or a client of one, has all descriptors that it may have. */
export function noDescriptorLeft(owner = 'this process'): ErrorFacts {
  const limit = getDescriptorLimit()
  const all = typeof limit === 'number' ? undefined : limit.soft
  return {
    limit: 'RLIMIT_NOFILE',
    ...(all === undefined ? {} : { limitValue: all }),
    limitUnit: `descriptors of ${owner}`,
    ...(all === undefined ? {} : { used: all }),
    wanted: 1,
    fix: `raise it (ulimit -n) where ${owner} is started`,
  }
}

/** For a person: the user of the host has as many descriptors under way as the system lets it. */
export function tooManyInFlight(): ErrorFacts {
  const limit = getDescriptorLimit()
  return {
    limit: 'RLIMIT_NOFILE',
    ...(typeof limit === 'number' ? {} : { limitValue: limit.soft }),
    limitUnit: 'descriptors sent by the user of the host and not received',
    wanted: 1,
    fix: 'end the program of that user which leaves them, or raise it (ulimit -n) for the host',
  }
}

/** Descriptors that domains may have of this process in all. */
export function descriptorsForDomains(): number {
  const limit = getDescriptorLimit()
  const most = typeof limit === 'number' ? DESCRIPTORS_MAX : limit.soft
  const used = readdirSync('/proc/self/fd').length + DESCRIPTORS_RESERVE
  return Math.max(0, Math.min(most, DESCRIPTORS_MAX) - used)
}
