import { SHRINK_RUNS_MAX } from './limits.ts'
import type { Sequence, Step } from './sequence.ts'

/** Whether a shorter sequence still shows what the whole one showed. */
export type Check = (candidate: Sequence) => Promise<boolean>

/**
 * Makes a sequence short that fails a check: takes out runs of steps, long ones first, then makes
 * the arguments of those that stay plain. Every step names others by their numbers, so whatever is
 * left can be played.
 */
export async function shrink(sequence: Sequence, stillFails: Check): Promise<Sequence> {
  let runs = 0
  const check: Check = async candidate => ++runs <= SHRINK_RUNS_MAX && (await stillFails(candidate))
  let best = sequence
  for (;;) {
    const shorter = await plainer(await fewer(best, check), check)
    if (JSON.stringify(shorter) === JSON.stringify(best)) return best
    best = shorter
  }
}

async function fewer(sequence: Sequence, stillFails: Check): Promise<Sequence> {
  let best = sequence
  for (let size = best.length >> 1; size >= 1; size >>= 1) {
    // From the end: what comes last depends on what comes first.
    for (let at = best.length - size; at > -size; at -= size) {
      const candidate = [...best.slice(0, Math.max(0, at)), ...best.slice(at + size)]
      if (await stillFails(candidate)) best = candidate
    }
  }
  return best
}

async function plainer(sequence: Sequence, stillFails: Check): Promise<Sequence> {
  let best = sequence
  for (const [i, { id }] of sequence.entries()) {
    for (const variant of plainVariants(best[i] as Step)) {
      const candidate = best.map(step => (step.id === id ? variant : step))
      if (await stillFails(candidate)) best = candidate
    }
  }
  return best
}

/** The step with one argument after the other made plain. */
function plainVariants(step: Step): Step[] {
  const variants: Step[] = []
  const plain: Record<string, unknown> = {
    pages: 1,
    count: 1,
    byte: 0,
    value: 1,
    length: 1,
    more: 0,
    times: 1,
    access: 'readwrite',
    shared: true,
    process: 0,
  }
  for (const [name, value] of Object.entries(step)) {
    if (name in plain && value !== plain[name]) variants.push({ ...step, [name]: plain[name] })
    if (name === 'hurdle') variants.push(without(step, name))
    if (!Array.isArray(value) || value.length < 2) continue
    for (let i = 0; i < value.length; i++) variants.push({ ...step, [name]: value.toSpliced(i, 1) })
  }
  return variants
}

function without(step: Step, name: string): Step {
  return Object.fromEntries(Object.entries(step).filter(([key]) => key !== name)) as unknown as Step
}
