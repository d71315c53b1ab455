import { Command } from 'commander'
import { doctorCommand } from './doctor.ts'
import { shellCommand } from './shell.ts'
import { testbedCommand } from './testbed.ts'
import { EXIT, strict } from './usage.ts'

/** The command line. Each command loads what it needs when it runs. */
export function createProgram(version: string): Command {
  const program = strict(new Command('interdom'))
    .description('Xen inter-domain memory for Node.js, with or without Xen')
    .version(version)
    .addCommand(shellCommand())
    .addCommand(doctorCommand())
    .addCommand(testbedCommand())
  // Without a command there is nothing to do, and that is wrong usage too.
  program.action(() => {
    program.outputHelp({ error: true })
    process.exitCode = EXIT.usage
  })
  return program
}
