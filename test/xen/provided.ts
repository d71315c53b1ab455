import type { ConformanceReport } from '../../src/conformance/report.ts'
import type { SequencesReport } from './sequences.ts'

/** The kernels that dom0 and the guests run, each in a machine of its own. */
export type KernelName = '6.12' | '6.1'

/** What the runs of the machine told, for the tests. */
export interface OnXen {
  readonly conformance: Readonly<Record<KernelName, ConformanceReport>>
  /** What the script of two shells printed, by who they were. */
  readonly shells: Readonly<Record<string, string>>
  /** What the script of bad input printed. */
  readonly refusals: Readonly<Record<KernelName, string>>
  /** How random sequences of calls went. */
  readonly sequences: Readonly<Record<KernelName, SequencesReport>>
  /** What tracer.c told of Xen's libraries and of ours. */
  readonly calls: { readonly theirs: string; readonly ours: string }
}

declare module 'vitest' {
  export interface ProvidedContext {
    onXen: OnXen
  }
}
