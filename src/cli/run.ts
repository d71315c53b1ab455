import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { domidArgument, reported, strict } from './usage.ts'

/** As shells answer for a command that was not found, or that may not be executed. */
const EXIT_NOT_FOUND = 127
const EXIT_NOT_EXECUTABLE = 126
/** Added to the number of the signal that ended a command. */
const EXIT_SIGNAL = 128

interface RunFlags {
  readonly domid: number
  readonly host?: string
}

/** `interdom run`: any program as a process of a domain. */
export function runCommand(): Command {
  return strict(new Command('run'))
    .description('run a program as a domain of a host, which is started if none runs')
    .requiredOption('--domid <n>', 'which domain it is', domidArgument)
    .option('--host <dir>', 'directory of the host')
    .argument('<command...>', 'the program and its arguments, after --')
    .passThroughOptions()
    .addHelpText(
      'after',
      '\nThe program finds the host by INTERDOM_PLATFORM, INTERDOM_HOST and INTERDOM_DOMID,\n' +
        'which connect() reads. Exits with its exit code, or 128 and the number of its signal.',
    )
    .action((words: string[], flags: RunFlags, command: Command) =>
      reported(command, () => run(words, flags)),
    )
}

async function run([program = '', ...words]: string[], { domid, host }: RunFlags): Promise<void> {
  const { ensureHost, giveOrder, hostDirectory, hostEnvironment } = await import('../host/index.ts')
  const directory = resolve(hostDirectory(host))
  try {
    giveOrder(directory, { order: 'status' })
  } catch {
    await ensureHost(directory)
  }
  process.exitCode = await exitCodeOf(program, words, hostEnvironment(directory, domid))
}

function exitCodeOf(program: string, words: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const child = spawn(program, words, { env, stdio: 'inherit' })
  // A signal for us is one for the program; we stay to tell how it ended. What is typed on a
  // terminal goes to both of us already, and a second Ctrl-C means something else to many programs.
  process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'))
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => child.kill(signal))
  }
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT' && error.code !== 'EACCES') return reject(error)
      const isThere = error.code === 'EACCES'
      const said = isThere ? 'may not be executed' : 'not found; is it in PATH?'
      process.stderr.write(`interdom run: ${program}: ${said}\n`)
      resolve(isThere ? EXIT_NOT_EXECUTABLE : EXIT_NOT_FOUND)
    })
    child.once('exit', (code, signal) => {
      resolve(code ?? EXIT_SIGNAL + (signal ? constants.signals[signal] : 0))
    })
  })
}
