import type { DeviceName } from '../abi/devices.ts'
import { DEVICE_NAMES } from '../abi/devices.ts'
import type { Access } from '../platform.ts'
import { domainPhrases } from './phrases-domains.ts'
import { drain, evtchnPhrases } from './phrases-evtchn.ts'
import { grantPhrases } from './phrases-grants.ts'
import { memoryPhrases } from './phrases-memory.ts'
import { OTHER_PROCESSES, type Step } from './sequence.ts'
import type { Situation } from './situation.ts'

/** A few steps that belong together; none when the situation does not allow them. */
export type Phrase = (now: Situation) => readonly Step[]

const open: Phrase = now => {
  const device = now.dice.of<DeviceName>(...DEVICE_NAMES)
  return [openStep(now, now.process(), device)]
}

const dup: Phrase = now => {
  const one = now.descriptor(now.dice.of<DeviceName>(...DEVICE_NAMES))
  return one ? [now.step({ do: 'dup', fd: one.id })] : []
}

const close: Phrase = now => {
  const one = now.descriptor(now.dice.of<DeviceName>(...DEVICE_NAMES))
  return one ? [now.step({ do: 'close', fd: one.id })] : []
}

const kill: Phrase = now => {
  const process = now.dice.pick(now.running())
  return process === undefined ? [] : [now.step({ do: 'kill', process })]
}

const limit: Phrase = now => {
  const { dice } = now
  return dice.chance(60)
    ? [now.step({ do: 'limit', name: 'gntalloc.limit', pages: dice.of(0, 1, 2, 3, 5, 8, 1024) })]
    : [now.step({ do: 'limit', name: 'gntdev.limit', pages: dice.of(0, 1, 2, 3, 65536) })]
}

/** Known phrases with how often each is said. */
const PHRASES: readonly (readonly [number, Phrase])[] = [
  [6, open],
  [3, dup],
  [4, close],
  [1, kill],
  [2, limit],
  ...grantPhrases,
  ...evtchnPhrases,
  ...memoryPhrases,
]

/** A phrase for the situation. */
export function say(now: Situation): readonly Step[] {
  const phrases = now.isPair ? [...PHRASES, ...domainPhrases] : PHRASES
  return now.dice.weighted(phrases)?.(now) ?? []
}

/** What most sequences begin with: something of everything. */
export const prologue: Phrase = now => {
  const steps: Step[] = []
  for (const device of DEVICE_NAMES) {
    const others = now.isPair ? [OTHER_PROCESSES, OTHER_PROCESSES + 1] : []
    for (const process of [0, 1, ...others]) {
      if (now.dice.chance(75)) steps.push(openStep(now, process, device))
    }
  }
  return steps
}

/** The last look: at every event that came, and at every page that is mapped. */
export const coda: Phrase = now => [
  ...now.descriptors('evtchn').flatMap(one => drain(now, one)),
  ...now
    .mappedPages()
    .map(({ process, page }) =>
      now.step({ do: 'peek', process, spot: { page, byte: 0 }, length: 64 }),
    ),
]

function openStep(now: Situation, process: number, device: DeviceName): Step {
  const access: Access = now.dice.chance(94) ? 'readwrite' : now.dice.of<Access>('read', 'write')
  return now.step({ do: 'open', process, device, access })
}
