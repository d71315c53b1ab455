import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { SHELL_COMMANDS, type ShellInterpreter } from './shell-interpreter.ts'

/**
 * The shell on a pipe: the lines of 2011 to the byte, each command's at once, until the end of
 * the input. A character is a byte, so that text in a page may be anything.
 */
export function pipeSession(
  interpreter: ShellInterpreter,
  input: Readable,
  output: Writable,
): Promise<void> {
  const say = (text: string) => output.write(text, 'latin1')
  input.setEncoding('latin1')
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY, terminal: false })
  say(`${interpreter.greeting()}\n> `)
  lines.on('line', line => say(`${interpreter.execute(line)}\n> `))
  return new Promise(resolve => lines.once('close', resolve))
}

/** The shell on a terminal: the same lines, with a domain prompt, history, completion and help. */
export function terminalSession(
  interpreter: ShellInterpreter,
  domid: number,
  input: Readable,
  output: Writable,
): Promise<void> {
  const lines = createInterface({
    input,
    output,
    terminal: true,
    prompt: `dom${domid}> `,
    removeHistoryDuplicates: true,
    completer: (typed: string) => [interpreter.completions(typed), typed.split(' ').at(-1) ?? ''],
  })
  const say = (text: string) => {
    output.write(`${text}\n`)
    lines.prompt()
  }
  lines.on('line', line => say(line.trim() === 'help' ? help() : run(interpreter, line)))
  // Ctrl-C gives up the line, as in other shells; the end of the input leaves.
  lines.on('SIGINT', () => {
    lines.write(null, { ctrl: true, name: 'e' })
    lines.write(null, { ctrl: true, name: 'u' })
    say('^C')
  })
  say(interpreter.greeting())
  return new Promise(resolve => {
    lines.once('close', () => {
      output.write('\n')
      resolve()
    })
  })
}

/** UTF-8 on the terminal, bytes in the page; a peer's text must not steer the terminal. */
function run(interpreter: ShellInterpreter, line: string): string {
  const answer = interpreter.execute(Buffer.from(line, 'utf8').toString('latin1'))
  return Buffer.from(answer, 'latin1')
    .toString('utf8')
    .replace(/[^\P{Cc}\n]/gu, '?')
}

function help(): string {
  const width = Math.max(...SHELL_COMMANDS.map(({ usage }) => usage.length)) + 2
  const lines = SHELL_COMMANDS.map(({ usage, does }) => `${usage.padEnd(width)}${does}\n`)
  return (
    `${lines.join('')}${'help'.padEnd(width)}this list\n\n` +
    'Numbers are decimal or 0x hexadecimal. Tab completes commands, refs, indexes and\n' +
    'addresses; the end of the input (Ctrl-D) leaves. In n= each digit is a user of the page,\n' +
    '1 while alive.\n'
  )
}
