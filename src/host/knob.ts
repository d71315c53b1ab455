import type { ErrorFacts } from '../base/errors.ts'
import type { Domain } from '../kernel/domain.ts'
import type { DomainLimits } from '../kernel/limits.ts'

/** On a host there is a command that turns the knob of a limit, and one that loads a module. */
export function withCommand(
  { domid, limits }: Pick<Domain, 'domid' | 'limits'>,
  facts: ErrorFacts | undefined,
): ErrorFacts | undefined {
  if (facts?.module !== undefined) {
    return { ...facts, fix: `load the driver: interdom host load ${domid} ${facts.module}` }
  }
  if (facts?.knob === undefined) return facts
  const needed = (facts.used ?? 0) + (facts.wanted ?? 0)
  const value = Math.max(2 * (limits[facts.knob as keyof DomainLimits] ?? 0), needed, 1)
  return { ...facts, fix: `raise it with: interdom host set ${domid} ${facts.knob} ${value}` }
}
