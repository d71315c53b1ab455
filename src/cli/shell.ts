import { Command } from 'commander'
import type { ConnectOptions, PlatformName } from '../platform-choice.ts'
import { domidArgument, fromOptions, platformArgument, reported, strict } from './usage.ts'

interface ShellFlags {
  readonly domid?: number
  readonly platform?: PlatformName
  readonly host?: string
}

/** `interdom shell`: the interactive test program of 2011. */
export function shellCommand(): Command {
  return strict(new Command('shell'))
    .description('share and map pages by hand: the test program of 2011')
    .option('--domid <n>', 'which domain to be, on a host', domidArgument)
    .option('--platform <name>', 'xen (or linux): the real devices; host', platformArgument)
    .option('--host <dir>', 'directory of the host; one is started there if none runs')
    .addHelpText(
      'after',
      '\nTwo of them see each other: "interdom shell --domid 1" and "interdom shell --domid 2".',
    )
    .action((flags: ShellFlags, command: Command) => reported(command, () => shell(flags, command)))
}

async function shell(flags: ShellFlags, command: Command): Promise<void> {
  const { connect } = await import('../connect.ts')
  const { ShellInterpreter } = await import('./shell-interpreter.ts')
  const { pipeSession, terminalSession } = await import('./shell-session.ts')
  const options: ConnectOptions = { ...flags, start: true }
  const xen = await fromOptions(command, () => connect(options))
  try {
    const { pid } = process
    const random = () => Math.floor(Math.random() * 2 ** 32)
    const interpreter = new ShellInterpreter(xen.platform, { pid, random })
    const { stdin, stdout } = process
    if (stdin.isTTY && stdout.isTTY) await terminalSession(interpreter, xen.domid, stdin, stdout)
    else await pipeSession(interpreter, stdin, stdout)
  } finally {
    xen.close()
  }
}
