/**
 * `npm run mutants [-- --only WORD] [--sample N [--seed S]]`: plants the bugs of `mutants/` one
 * after the other into a copy of the compiled code and lets the conformance suite look for each.
 * What caught them is kept in `mutants/results.json`, and asked first the next time; a sample keeps
 * nothing. Exit 1 when a bug gets through that is not listed as one that does, or one is caught
 * that is.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import ts from 'typescript'
import { MUTANTS } from '../mutants/index.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const RESULTS = join(ROOT, 'mutants/results.json')
/** A bug may make the suite hang: that is noticed too. */
const TIMEOUT_MS = 120_000
const { compilerOptions } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile).config
const { values } = parseArgs({
  options: { only: { type: 'string' }, sample: { type: 'string' }, seed: { type: 'string' } },
})

const chosen = choose()
const folder = mkdtempSync(join(tmpdir(), 'interdom-mutants-'))
try {
  process.exitCode = run(chosen)
} finally {
  rmSync(folder, { recursive: true, force: true })
}

function run(mutants) {
  const compiler = join(ROOT, 'node_modules/typescript/bin/tsc')
  execFileSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], {
    cwd: ROOT,
    stdio: 'inherit',
  })
  for (const path of ['dist', 'package.json']) {
    cpSync(join(ROOT, path), join(folder, path), { recursive: true })
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  for (const platform of new Set(mutants.flatMap(({ runs }) => runs))) {
    const { by } = look(platform)
    if (by !== undefined) throw new Error(`${platform}: the suite fails without a bug: ${by}`)
  }
  const known = JSON.parse(readFileSync(RESULTS, 'utf8'))
  const results = {}
  let wrong = 0
  for (const mutant of mutants) {
    const result = plant(mutant, known[mutant.name])
    results[mutant.name] = result
    const isAsListed = (result.by === undefined) === (mutant.survives !== undefined)
    if (!isAsListed) wrong++
    const told = result.by ?? (mutant.survives ? `gets through: ${mutant.survives}` : 'NOT CAUGHT')
    console.log(`${mutant.name.padEnd(44)} ${told}${isAsListed ? '' : '  <- not as listed'}`)
  }
  const caught = Object.values(results).filter(({ by }) => by !== undefined).length
  console.log(`${mutants.length} bugs planted, ${caught} caught, ${wrong} not as listed`)
  if (values.sample === undefined) keep({ ...known, ...results })
  return wrong === 0 ? 0 : 1
}

/** Those of the bugs that are still in the list, in its order. */
function keep(results) {
  const kept = MUTANTS.map(({ name }) => [name, results[name]]).filter(([, result]) => result)
  writeFileSync(RESULTS, `${JSON.stringify(Object.fromEntries(kept), null, 2)}\n`)
}

/** Runs the suite with a bug; leaves the copy as it was. */
function plant({ file, edits, runs }, before) {
  const target = join(folder, file.replace(/^src/, 'dist').replace(/\.ts$/, '.js'))
  const whole = readFileSync(target)
  let source = readFileSync(join(ROOT, file), 'utf8')
  for (const [find, replace] of edits) {
    if (source.split(find).length !== 2) throw new Error(`${file}: ${find} stands there not once`)
    source = source.replace(find, () => replace)
  }
  writeFileSync(target, ts.transpileModule(source, { compilerOptions: options() }).outputText)
  try {
    const id = /^case (\d+)$/.exec(before?.by ?? '')?.[1]
    const asked = id && runs.includes(before.on) ? [[before.on, `--only ${id}`]] : []
    for (const [on, only] of [...asked, ...runs.map(words => [words, ''])]) {
      const { by } = look(`${on} ${only}`.trim())
      if (by !== undefined) return { on, by, commit: commit() }
    }
    return { commit: commit() }
  } finally {
    writeFileSync(target, whole)
  }
}

function options() {
  return {
    ...compilerOptions,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    lib: [],
  }
}

/** What noticed a bug: the first case that failed and how many did, or nothing. */
function look(words) {
  const main = join(folder, 'dist/conformance/main.js')
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [main, '--platform', ...words.split(' '), '--json'],
    { encoding: 'utf8', timeout: TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: 2 ** 26 },
  )
  if (status === null) return { by: 'the suite hangs' }
  let report
  try {
    report = JSON.parse(stdout)
  } catch {
    return {
      by: `the suite dies: ${stderr.split('\n').find(line => /Error/.test(line)) ?? status}`,
    }
  }
  const failed = report.cases.filter(({ outcome }) => outcome === 'failed')
  if (failed.length === 0) return {}
  return { by: `case ${failed[0].id}` }
}

function choose() {
  if (values.only !== undefined) {
    const words = values.only.split(',')
    return MUTANTS.filter(({ name }) => words.some(word => name.includes(word)))
  }
  if (values.sample === undefined) return MUTANTS
  let state = Number.parseInt(values.seed ?? commit(), 16) % 2147483647 || 1
  const left = [...MUTANTS]
  const sample = []
  while (sample.length < Number(values.sample) && left.length > 0) {
    state = (state * 48271) % 2147483647
    sample.push(...left.splice(state % left.length, 1))
  }
  return sample
}

function commit() {
  return execFileSync('git', ['rev-parse', '--short=12', 'HEAD'], {
    cwd: ROOT,
    encoding: 'utf8',
  }).trim()
}
