import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** V8 collects at the first turn and runs the finalizers in the next; the rest is for chains. */
const TURNS = 5
const TURNS_MAX = 50

/** Collects garbage and lets finalizers run: what is still there then is held by somebody. */
export async function collect(): Promise<void> {
  let turns = 0
  await collectUntil(() => ++turns === TURNS)
}

/**
 * Collects garbage until the condition holds; false when it never does.
 *
 * What a test makes and drops must be made in a function of its own: an async function keeps the
 * values of its temporaries for as long as it waits.
 */
export async function collectUntil(isTrue: () => boolean): Promise<boolean> {
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    // What a WeakRef gave out, be it in `isTrue`, lives to the end of that turn.
    await new Promise(resolve => setImmediate(resolve))
    gc()
    await new Promise(resolve => setImmediate(resolve))
    if (isTrue()) return true
  }
  return false
}
