import { Command } from 'commander'
import { demoCommand } from './demo.ts'
import { doctorCommand } from './doctor.ts'
import { hostCommand } from './host.ts'
import { lsCommand } from './ls.ts'
import { runCommand } from './run.ts'
import { shellCommand } from './shell.ts'
import { testbedCommand } from './testbed.ts'
import { strict } from './usage.ts'

/** The command line. Each command loads what it needs when it runs. */
export function createProgram(version: string): Command {
  return strict(new Command('interdom'))
    .description('Xen inter-domain memory for Node.js, with or without Xen')
    .version(version)
    .enablePositionalOptions()
    .addCommand(demoCommand())
    .addCommand(shellCommand())
    .addCommand(hostCommand())
    .addCommand(lsCommand())
    .addCommand(runCommand())
    .addCommand(doctorCommand())
    .addCommand(testbedCommand())
}
