import { type Command, CommanderError } from 'commander'
import { TestbedError } from '../testbed/failure.ts'

/**
 * Parses the command line, and exits with what `main` answers: with 2 where it was wrong. A test
 * bed that failed is told in words, anything else with its stack.
 */
export async function runProgram<Options>(
  command: Command,
  main: (options: Options) => Promise<number>,
): Promise<void> {
  try {
    process.exitCode = await main(command.exitOverride().parse().opts() as Options)
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
    else if (error instanceof TestbedError) {
      console.error(`${command.name()}: ${error.message}`)
      process.exitCode = error.exitCode
    } else {
      console.error(error)
      process.exitCode = 1
    }
  }
}
