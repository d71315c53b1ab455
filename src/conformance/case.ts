import type { Capability } from '../platform.ts'
import type { CaseContext } from './context.ts'

/** What a case does; it throws when something is not as its title says. */
export type CaseBody = (t: CaseContext) => Promise<void>

/** One numbered case of the fact sheet. */
export interface ConformanceCase {
  /** Its number there. */
  readonly id: number
  /** A sentence: what holds. */
  readonly title: string
  /** What a rig may lack to be excused (capabilities.ts). */
  readonly capabilities: readonly Capability[]
  /** Absent while no puppet can do what the case needs: such a case is always skipped. */
  readonly body?: CaseBody
}

/** A case that every rig runs. */
export function defineCase(id: number, title: string, body: CaseBody): ConformanceCase {
  return { id, title, capabilities: [], body }
}

/** A case for rigs with a capability, or with several. */
export function defineCaseFor(
  needed: Capability | readonly Capability[],
  id: number,
  title: string,
  body?: CaseBody,
): ConformanceCase {
  const capabilities = typeof needed === 'string' ? [needed] : needed
  return { id, title, capabilities, ...(body && { body }) }
}
