import { spawn } from 'node:child_process'

export interface Execution {
  cwd?: string
  env?: NodeJS.ProcessEnv
  input?: Uint8Array
}

/** What a tool that failed said: its command line, its exit and its errors. */
class ToolError extends Error {
  override readonly name: string = 'ToolError'
  readonly stderr: string

  constructor(command: string, args: readonly string[], exit: string, stderr: string) {
    const tail = stderr.trim().split('\n').slice(-10).join('\n')
    super(`${[command, ...args].join(' ')}: ${exit}${tail === '' ? '' : `\n${tail}`}`)
    this.stderr = stderr
  }
}

/** Runs a tool to its end and gives what it wrote; throws when it fails. Silent otherwise. */
export async function execute(
  command: string,
  args: readonly string[],
  options: Execution = {},
): Promise<Buffer> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    // Messages are read by code (apt's above all), so they must not be translated.
    env: { ...process.env, LC_ALL: 'C', ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const out: Buffer[] = []
  const errors: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk))
  // A tool may end before it has read everything; its exit code says whether that was a failure.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input)
  const exit = await new Promise<string>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`))
  })
  if (exit !== 'exit code 0') {
    throw new ToolError(command, args, exit, Buffer.concat(errors).toString())
  }
  return Buffer.concat(out)
}
