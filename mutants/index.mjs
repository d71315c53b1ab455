import { addresses } from './addresses.mjs'
import { evtchn } from './evtchn.mjs'
import { gntalloc } from './gntalloc.mjs'
import { gntdev } from './gntdev.mjs'
import { host } from './host.mjs'
import { hypervisor } from './hypervisor.mjs'

/**
 * Bugs that a person could have made, each a change of one file:
 *
 *      name       what the results call it
 *      bug        a sentence: what is wrong then
 *      file       where
 *      edits      [text that stands there exactly once, what it becomes], …
 *      runs       the words after `--platform` of the runs that look for it, in order
 *      survives   why none of them can notice, for the few that get through
 */
export const MUTANTS = [
  ...gntalloc.map(on('sim')),
  ...gntdev.map(on('sim')),
  ...evtchn.map(on('sim')),
  ...addresses.map(on('sim')),
  ...hypervisor.map(on('sim')),
  ...host.map(on('host')),
]

function on(...runs) {
  return mutant => ({ runs, ...mutant })
}
