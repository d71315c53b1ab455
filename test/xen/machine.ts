import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { parseReport, runWithPackage, SUITE_COMMAND } from '../../src/conformance/xen-testbed.ts'
import { type ShellSide, sidesArgument, TWO_SHELLS } from '../cli/two-shells.ts'
import './provided.ts'

const SHELL = 'exec node /payload/dist/cli/main.js shell'
const dom0: ShellSide = { domid: 0, run: ['sh', '-c'], shell: SHELL }
const guest: ShellSide = { domid: 1, run: ['domu', '1'], shell: SHELL }

const play = (A: ShellSide, B: ShellSide, file: string): string =>
  `node /payload/two-shells.mjs '${sidesArgument({ A, B })}' >/host/${file}`

/**
 * Boots Xen with a guest once and runs all that needs it, one after the other: the suite sets
 * limits of the kernel that the shells share with it.
 */
export default async function runOnce({ provide }: TestProject): Promise<void> {
  const commands = [
    // Cases that failed are told by the report.
    `(${SUITE_COMMAND}) >/host/conformance.json`,
    play(dom0, guest, 'dom0-guest.txt'),
    play(guest, dom0, 'guest-dom0.txt'),
  ]
  const { domains, out, seconds } = await runWithPackage(
    {
      dom0: commands.join('\n'),
      guests: 1,
      onStep: text => console.error(text),
    },
    [TWO_SHELLS],
  )
  const told = (file: string): string => readFileSync(join(out, file), 'utf8')
  const { stderr = '' } = domains.dom0 ?? {}
  console.error(`the machine ran for ${Math.round(seconds)} s; its logs are in ${out}`)
  provide('onXen', {
    conformance: parseReport(told('conformance.json'), stderr),
    shells: {
      'dom0 and guest': told('dom0-guest.txt'),
      'guest and dom0': told('guest-dom0.txt'),
    },
  })
}
