import type { ProfileName } from '../kernel/profiles.ts'
import type { Capability } from '../platform.ts'

/** How a case went. */
export interface CaseReport {
  readonly id: number
  readonly title: string
  readonly outcome: 'passed' | 'failed' | 'skipped'
  /** What the rig lacks, for a skipped case. */
  readonly capability?: Capability
  /** What went wrong, for a failed one. */
  readonly detail?: string
}

/** What `conformance --json` prints. */
export interface ConformanceReport {
  readonly platform: string
  readonly kernel: string
  readonly profile: ProfileName
  readonly kind: 'pv' | 'hvm'
  /** Version of the hypervisor, where it is a real one. */
  readonly xen?: string
  /** The day of the run. */
  readonly date: string
  readonly cases: readonly CaseReport[]
}

/** `'316 passed, 0 failed, 0 skipped'` */
export function summaryOf({ cases }: ConformanceReport): string {
  const count = (outcome: CaseReport['outcome']): number =>
    cases.filter(one => one.outcome === outcome).length
  return `${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`
}

/** `'  13 passed   ALLOC of one page answers index 0'` */
export function lineOf({ id, title, outcome, capability, detail }: CaseReport): string {
  const why = capability ? ` (needs ${capability})` : ''
  const indented = detail ? `\n${detail.replaceAll(/^/gm, '             ')}` : ''
  return `${String(id).padStart(4)} ${outcome.padEnd(7)} ${title}${why}${indented}`
}
