import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll } from 'vitest'

const FLAGS = ['-std=gnu11', '-O1', '-Wall', '-Wextra', '-Werror']

const directories: string[] = []
afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true })
})

/** Builds a program of test/host/c-client; its directory goes with the file of tests. */
export function build(name: string): string {
  const source = fileURLToPath(new URL(`./c-client/${name}.c`, import.meta.url))
  const directory = mkdtempSync(join(tmpdir(), 'interdom-c-'))
  directories.push(directory)
  const program = join(directory, name)
  try {
    execFileSync('gcc', [...FLAGS, '-o', program, source], { stdio: 'pipe', encoding: 'utf8' })
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: string }
    if (code !== 'ENOENT') throw new Error(stderr)
    throw new Error('this test needs a C compiler: apt-get install gcc libc6-dev')
  }
  return program
}

/** A program that says lines. */
export class CProgram {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(program: string, words: readonly string[]) {
    this.child = spawn(program, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    const { stdout } = this.child
    if (!stdout) throw new Error('no standard output')
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  }

  /** The numbers of its next line. */
  async hear(): Promise<number[]> {
    const { value, done } = await this.#lines.next()
    if (done) throw new Error('the program ended without a word')
    return value.split(' ').map(Number)
  }

  async kill(): Promise<void> {
    const exited = once(this.child, 'exit')
    this.child.kill('SIGKILL')
    await exited
  }
}
