import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import ts from 'typescript'
import type { Block } from './blocks.ts'

const ROOT = resolve('.')
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')
const VITEST = join(ROOT, 'node_modules/vitest/vitest.mjs')
const INTERDOM = join(ROOT, 'dist/cli/main.js')
const WATCHDOG_MS = 240_000
/** What would change this checkout under the tests, or run them within themselves. */
const NPM_REFUSED = 'ci|i|install|t|test'

/** How a program ended, with all that it said. */
export interface Ending {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
  readonly output: string
  readonly errors: string
}

/**
 * Where the blocks of the documents are run: a folder inside of the package, so that `interdom`
 * is found as in any program that depends on it, with a subfolder for each document.
 */
export class Workshop {
  readonly #folder: string
  /** Outside, since the paths of sockets are short. */
  readonly #runtime: string
  readonly #bin: string

  constructor() {
    mkdirSync(join(ROOT, '.cache'), { recursive: true })
    this.#folder = mkdtempSync(join(ROOT, '.cache/docs-'))
    this.#runtime = mkdtempSync(join(tmpdir(), 'interdom-docs-'))
    this.#bin = join(this.#runtime, 'bin')
    mkdirSync(this.#bin)
    const run = `exec "${process.execPath}" "${INTERDOM}" "$@"`
    this.#script('node', `exec "${process.execPath}" "$@"`)
    this.#script('interdom', run)
    const npm = execFileSync('bash', ['-c', 'command -v npm'], { encoding: 'utf8' }).trim()
    this.#script('npm', `case "$1" in ${NPM_REFUSED}) exit 126;; esac\nexec "${npm}" "$@"`)
    this.#script('npx', `[ "$1" = interdom ] || exit 127\nshift\n${run}`)
    this.#write('vitest.config.mjs', 'export default { test: { testTimeout: 60_000 } }\n')
    const extended = { extends: '../../tsconfig.json', include: ['**/*.ts'] }
    const compilerOptions = { noEmit: true, allowJs: false }
    this.#write('tsconfig.json', JSON.stringify({ ...extended, compilerOptions }))
  }

  /** Puts a block of TypeScript or JavaScript where it can be run and imported by others. */
  place(block: Block): void {
    const path = this.#fileOf(block)
    this.#write(path, `${block.code}\n`)
    if (block.language !== 'ts') return
    const { outputText } = ts.transpileModule(block.code, {
      fileName: path,
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
        rewriteRelativeImportExtensions: true,
      },
    })
    this.#write(path.replace(/ts$/, 'js'), outputText)
  }

  /** Checks the types of all blocks that were placed. */
  checkTypes(): Promise<Ending> {
    return this.#run([process.execPath, TSC, '-p', 'tsconfig.json'], this.#folder)
  }

  run(block: Block): Promise<Ending> {
    const folder = join(this.#folder, slugOf(block.document))
    mkdirSync(folder, { recursive: true })
    if (block.language === 'sh') {
      return this.#run(['bash', '-euo', 'pipefail', '-c', block.code], folder)
    }
    const path = join(this.#folder, this.#fileOf(block))
    if (/from 'vitest'/.test(block.code)) {
      const words = ['run', '--root', this.#folder, '--config', 'vitest.config.mjs', path]
      return this.#run([process.execPath, VITEST, ...words], this.#folder)
    }
    return this.#run([process.execPath, path.replace(/ts$/, 'js')], folder)
  }

  /** Ends the hosts that a block has started and left, in the usual place or one of its own. */
  async tidy(): Promise<void> {
    for (const name of readdirSync(this.#runtime)) {
      const directory = join(this.#runtime, name)
      if (!existsSync(join(directory, 'host.json'))) continue
      const words = ['host', 'stop', '--dir', directory]
      await this.#run([process.execPath, INTERDOM, ...words], this.#folder)
    }
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true })
    rmSync(this.#runtime, { recursive: true, force: true })
  }

  #fileOf(block: Block): string {
    const name = block.name ?? `line-${block.line}.${block.language === 'js' ? 'mjs' : 'ts'}`
    return join(slugOf(block.document), name)
  }

  #write(path: string, content: string): void {
    const whole = join(this.#folder, path)
    mkdirSync(join(whole, '..'), { recursive: true })
    writeFileSync(whole, content)
  }

  #script(name: string, content: string): void {
    const path = join(this.#bin, name)
    writeFileSync(path, `#!/bin/sh\n${content}\n`)
    chmodSync(path, 0o755)
  }

  async #run(words: readonly string[], cwd: string): Promise<Ending> {
    const [program = '', ...args] = words
    const env = {
      ...cleanEnvironment(),
      PATH: `${this.#bin}:${process.env['PATH']}`,
      XDG_RUNTIME_DIR: this.#runtime,
      TMPDIR: this.#runtime,
    }
    // A group of its own, so that what a block has started ends with it.
    const how = { cwd, env, detached: true }
    const child = spawn(program, args, { ...how, stdio: ['ignore', 'pipe', 'pipe'] })
    const watchdog = setTimeout(() => endGroup(child), WATCHDOG_MS)
    const [output, errors] = [text(child.stdout), text(child.stderr)]
    const [exitCode, ended] = await new Promise<[number | null, NodeJS.Signals | null]>(
      (done, failed) => {
        child.once('error', failed)
        child.once('exit', (...end) => done(end))
      },
    )
    const ending = { exitCode, signal: ended, output: await output, errors: await errors }
    clearTimeout(watchdog)
    return ending
  }
}

function endGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // All of it has ended by itself.
  }
}

/** What a person's shell has: nothing of the runner, of npm, or of a host. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  const own = /^(INTERDOM_|VITEST|npm_(lifecycle|package|config_local_prefix)|INIT_CWD$|NODE_ENV$)/
  const kept = Object.entries(process.env).filter(([name]) => !own.test(name))
  return Object.fromEntries(kept)
}

function slugOf(document: string): string {
  return document.replaceAll(/[^\w-]+/g, '-')
}
