/**
 * `npm run bench [-- NAME…]`: compiles, runs the benchmarks of `bench/` one after the other, each
 * in a process of its own, and writes what they measured, with machine, Node and commit, into
 * `bench/results/NAME.json`. Exit 1 when a ratio is above what it may be.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const RESULTS = new URL('../bench/results/', import.meta.url)
const ALL = ['model', 'host', 'events']
/** A million mappings of one page each are objects of some hundred bytes. */
const HEAP_MIB = 4096

const [command, ...rest] = process.argv.slice(2)
if (command === '--run') await runHere(rest[0])
else runAll(command === undefined ? ALL : [command, ...rest])

function runAll(names) {
  const unknown = names.filter(name => !ALL.includes(name))
  if (unknown.length > 0) {
    console.error(`no benchmark ${unknown.join(', ')}; there are: ${ALL.join(', ')}`)
    process.exit(2)
  }
  const compiler = `${ROOT}node_modules/typescript/bin/tsc`
  execFileSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], {
    cwd: ROOT,
    stdio: 'inherit',
  })
  let isGood = true
  for (const name of names) {
    const self = fileURLToPath(import.meta.url)
    const node = [`--max-old-space-size=${HEAP_MIB}`, '--expose-gc', self, '--run', name]
    try {
      execFileSync(process.execPath, node, { cwd: ROOT, stdio: 'inherit' })
    } catch {
      isGood = false
    }
  }
  process.exit(isGood ? 0 : 1)
}

async function runHere(name) {
  const { run } = await import(new URL(`../bench/${name}.mjs`, import.meta.url).href)
  const results = await run()
  for (const row of results) {
    const { title, atMost, loadedNs, bareNs } = row
    const verdict = isGood(row) ? 'ok' : 'TOO SLOW'
    console.log(
      `${title}: ${figureOf(row)} (at most ${atMost}; ${loadedNs} ns, ${bareNs} ns) ${verdict}`,
    )
  }
  mkdirSync(RESULTS, { recursive: true })
  const report = { benchmark: name, ...circumstances(), results }
  writeFileSync(new URL(`${name}.json`, RESULTS), `${JSON.stringify(report, null, 2)}\n`)
  process.exit(results.every(isGood) ? 0 : 1)
}

/** A ratio, or the milliseconds by which the one exceeds the other. */
function figureOf({ ratio, ms }) {
  return ratio ?? ms
}

function isGood(row) {
  return figureOf(row) <= row.atMost
}

function circumstances() {
  return {
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryMiB: Math.round(totalmem() / 2 ** 20),
      arch: process.arch,
    },
    node: process.version,
    commit: commit(),
  }
}

/** The commit, marked when the sources differ from it. */
function commit() {
  const git = (...args) => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim()
  try {
    const hash = git('rev-parse', 'HEAD')
    const isChanged = git('status', '--porcelain', '--', 'src', 'bench/*.mjs') !== ''
    return isChanged ? `${hash} with changes` : hash
  } catch {
    return 'unknown'
  }
}
