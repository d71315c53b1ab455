import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { TestbedError } from '../testbed/failure.ts'
import { ChildPuppet } from './child-puppet.ts'

/** Names the compiled program; without it the cases for processes like it are skipped. */
export const C_PUPPET_VARIABLE = 'INTERDOM_C_PUPPET'

/** Two levels up both from the sources and from the compiled code. */
const SOURCES = new URL('../../testbed/', import.meta.url)
/** As many children as a case forks. */
const FORKS = 2

const execute = promisify(execFile)

/** Compiles the puppet in C into a folder and answers its path. */
export function compileCPuppet(folder: string): Promise<string> {
  return compile('puppet', folder, 'the cases of fork, signal, fault and remap')
}

/** Compiles the player of scripts of calls into a folder and answers its path. */
export function compilePlayer(folder: string): Promise<string> {
  return compile('player', folder, 'differential runs')
}

/** What it makes finds this machine's C library in a domain, where Node needs it too. */
async function compile(name: string, folder: string, purpose: string): Promise<string> {
  const program = join(folder, name)
  const source = fileURLToPath(new URL(`${name}.c`, SOURCES))
  const words = ['-std=gnu11', '-O1', '-Wall', '-Wextra', '-Werror', '-s', '-o', program]
  try {
    await execute('gcc', [...words, source])
  } catch (cause) {
    const { code, stderr } = cause as { code?: unknown; stderr?: string }
    const why = code === 'ENOENT' ? 'gcc is not in PATH' : `gcc says:\n${stderr}`
    const wanted = `the ${name} in C, for ${purpose}`
    const fix = 'apt-get install --no-install-recommends gcc libc6-dev'
    const message = `cannot compile ${wanted}: ${why}\nInstall a compiler: ${fix}`
    throw new TestbedError('ERR_TESTBED_TOOLS', message, { cause })
  }
  return program
}

/** Starts it as a process of a domain. */
export function startCPuppet(program: string, domid: number): Promise<ChildPuppet> {
  return ChildPuppet.start({
    command: [program],
    env: { ...process.env, INTERDOM_DOMID: String(domid) },
    forks: FORKS,
  })
}
