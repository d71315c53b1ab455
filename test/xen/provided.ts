import type { ConformanceReport } from '../../src/conformance/report.ts'

/** What one run of the machine told, for the tests. */
export interface OnXen {
  readonly conformance: ConformanceReport
  /** What the script of two shells printed, by who was A and who was B. */
  readonly shells: Readonly<Record<'dom0 and guest' | 'guest and dom0', string>>
}

declare module 'vitest' {
  export interface ProvidedContext {
    onXen: OnXen
  }
}
