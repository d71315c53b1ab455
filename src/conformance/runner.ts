import type { ConformanceCase } from './case.ts'
import { CASES } from './cases/index.ts'
import { CaseContext } from './context.ts'
import type { CaseReport, ConformanceReport } from './report.ts'
import type { Rig } from './rig.ts'

/** Which cases to run, and who is told. */
export interface RunOptions {
  /** Which cases to run; the others are not reported. */
  readonly filter?: (one: ConformanceCase) => boolean
  /** Told of each case when it is done. */
  readonly onCase?: (report: CaseReport) => void
}

/** Runs the cases in order of their numbers, one after the other. Never throws for a case. */
export async function runConformance(
  rig: Rig,
  { filter = () => true, onCase }: RunOptions = {},
): Promise<ConformanceReport> {
  const cases: CaseReport[] = []
  for (const one of CASES.filter(filter)) {
    const report = await runCase(rig, one)
    cases.push(report)
    onCase?.(report)
  }
  const { name: platform, kernel, xen } = rig
  const profile = rig.profile.name
  const { kind } = rig
  const date = new Date().toISOString().slice(0, 10)
  return { platform, kernel, profile, kind, ...(xen && { xen }), date, cases }
}

/** Runs one case, and fails it too when it leaves something behind. */
export async function runCase(rig: Rig, one: ConformanceCase): Promise<CaseReport> {
  const { id, title, capabilities, body } = one
  const context = new CaseContext(rig)
  const capability = capabilities.find(needed => !context.has(needed))
  if (capability) {
    return { id, title, outcome: 'skipped', capability }
  }
  const problems: string[] = []
  const attempt = async (what: string, step: () => Promise<void>): Promise<void> => {
    try {
      await step()
    } catch (error) {
      problems.push(what + describe(error))
    }
  }
  await attempt('', async () => {
    if (!body) throw new Error(`nobody has written this case for rigs with ${capabilities}`)
    await body(context)
  })
  await attempt('restoring limits: ', () => context.restore())
  await attempt('left behind: ', () => rig.clean())
  if (problems.length === 0) return { id, title, outcome: 'passed' }
  return { id, title, outcome: 'failed', detail: problems.join('\n') }
}

/** The message, and where in the cases it was. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const place = /\bcases\/[\w-]+\.[jt]s:\d+/.exec(error.stack ?? '')?.[0]
  return place ? `${error.message} (${place})` : error.message
}
