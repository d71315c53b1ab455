/**
 * `npm run conformance:page [-- REPORT… | sim | host]`: takes reports of `conformance --json` into
 * `docs/conformance/`, one file for each machine and kernel, and writes `docs/conformance.md`
 * anew from all that are there. `sim` and `host` are run for their reports, with the compiled code.
 * `pageOf` and `kept` are what the tests compare with.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'

const REPORTS = new URL('../docs/conformance/', import.meta.url)
const PAGE = new URL('../docs/conformance.md', import.meta.url)
const CORRECTIONS = new URL('../docs/decisions/0010-what-real-xen-does.md', import.meta.url)

/** The kernels, oldest first. */
const PROFILES = ['v6', 'linux-6.1', 'linux-6.12']
/** What is run for the columns of a simulated machine. */
const RUNS = {
  sim: [
    ...PROFILES.map(name => ['--profile', name]),
    ['--profile', 'v6', '--kind', 'hvm'],
    ['--kind', 'hvm'],
  ],
  host: [[], ['--kind', 'hvm']],
}

/** Which machine is which column, and in which order. */
const MACHINES = { sim: 'world', host: 'host', xen: 'Xen' }

/** A report as it is kept: outcomes as lists of numbers, the titles being the suite's. */
export function kept({ cases, ...facts }) {
  const skipped = {}
  for (const { id, capability } of cases.filter(one => one.outcome === 'skipped')) {
    skipped[capability] = [...(skipped[capability] ?? []), id]
  }
  const numbers = outcome => cases.filter(one => one.outcome === outcome).map(({ id }) => id)
  return {
    ...facts,
    passed: ranges(numbers('passed')),
    failed: ranges(numbers('failed')),
    skipped: Object.fromEntries(
      Object.entries(skipped).map(([capability, ids]) => [capability, ranges(ids)]),
    ),
  }
}

/** The kept reports, in the order of their columns. */
export function keptReports() {
  const order = Object.keys(MACHINES)
  return readdirSync(REPORTS)
    .map(name => JSON.parse(readFileSync(new URL(name, REPORTS), 'utf8')))
    .sort(
      (a, b) =>
        order.indexOf(a.platform) - order.indexOf(b.platform) ||
        kindOf(b).localeCompare(kindOf(a)) ||
        PROFILES.indexOf(a.profile) - PROFILES.indexOf(b.profile),
    )
}

/** The page, from kept reports, the suite, and what is known of each profile. */
export function pageOf(reports, suite) {
  const columns = reports.map(report => ({ report, outcomes: outcomesOf(report) }))
  const corrections = readFileSync(CORRECTIONS, 'utf8')
  return [
    HEAD,
    '## The runs',
    '',
    ...table(
      ['run', 'kernel', 'Xen', 'date', 'passed', 'failed', 'skipped'],
      columns.map(({ report, outcomes }) => [
        titleOf(report),
        report.platform === 'xen' ? report.kernel : `as ${report.kernel}`,
        report.xen ?? '',
        report.date,
        ...['passed', 'failed', 'skipped'].map(outcome => String(count(outcomes, outcome))),
      ]),
    ),
    '',
    '## What the profiles rest on',
    '',
    ...table(
      ['profile', 'kind', 'rests on'],
      [...new Set(reports.filter(isSimulated).map(profileKey))].map(key => {
        const [profile = '', kind = ''] = key.split(' ')
        return [
          `\`${profile}\``,
          kind,
          reports.some(one => !isSimulated(one) && profileKey(one) === key) ? SEEN : READ,
        ]
      }),
    ),
    '',
    '## What was written down otherwise',
    '',
    ...correctionsOf(corrections),
    '',
    '## The cases',
    '',
    `${suite.length} cases. ✓ passed, ✗ failed; a word: skipped by that capability.`,
    '',
    ...table(
      ['', 'case', ...columns.map(({ report }) => titleOf(report))],
      suite.map(({ id, title }) => [
        String(id),
        title.replaceAll('|', '\\|'),
        ...columns.map(({ outcomes }) => SIGNS[outcomes.get(id)] ?? outcomes.get(id) ?? 'not run'),
      ]),
    ),
    '',
  ].join('\n')
}

const HEAD = `# Conformance

<!-- Written by npm run conformance:page from the reports in docs/conformance. Not by hand. -->

How the drivers behave is written down as numbered cases, and the same cases run on a world, on a
host with real processes, and on real Xen in an emulated machine. This page is made from the reports
of such runs. Tests compare it with them, and them with what the suite says today.
`
const SEEN = 'seen on real Xen: the run above with its kernel'
const READ = 'from sources: no run on real Xen is kept of it'
const SIGNS = { passed: '✓', failed: '✗' }

/** Both tables of the record, or that there is nothing in them. */
function correctionsOf(record) {
  const rows = head => {
    const lines = record.split('\n')
    const at = lines.findIndex(line => line.startsWith(`| ${head} |`))
    if (at < 0) throw new Error(`no table of "${head}" in the record`)
    const end = lines.findIndex((line, i) => i > at && !line.startsWith('|'))
    return lines.slice(at, end < 0 ? undefined : end)
  }
  const wrong = rows('case')
  const added = rows('what')
  return [
    wrong.length > 2
      ? 'Real Xen did otherwise than the cases first said, and they were changed:'
      : 'Nothing: every case that a domain of real Xen can show held there as it was written down.',
    ...(wrong.length > 2 ? ['', ...wrong] : []),
    ...(added.length > 2
      ? ['', 'What no case spoke of, and real Xen was seen to do:', '', ...added]
      : []),
    '',
    'The record of it is [decision 0010](decisions/0010-what-real-xen-does.md).',
  ]
}

function isSimulated({ platform }) {
  return platform !== 'xen'
}

function kindOf({ kind }) {
  return kind ?? 'pv'
}

function profileKey(report) {
  return `${report.profile} ${kindOf(report)}`
}

function titleOf(report) {
  const kind = kindOf(report) === 'pv' ? '' : ` ${kindOf(report)}`
  return `${MACHINES[report.platform]} ${report.profile.replace('linux-', '')}${kind}`
}

/** By number: passed, failed, or the capability by which a case was skipped. */
export function outcomesOf({ passed, failed, skipped }) {
  const outcomes = new Map()
  for (const id of numbersOf(passed)) outcomes.set(id, 'passed')
  for (const id of numbersOf(failed)) outcomes.set(id, 'failed')
  for (const [capability, ids] of Object.entries(skipped)) {
    for (const id of numbersOf(ids)) outcomes.set(id, capability)
  }
  return outcomes
}

function count(outcomes, wanted) {
  const isSkip = outcome => outcome !== 'passed' && outcome !== 'failed'
  return [...outcomes.values()].filter(one => (wanted === 'skipped' ? isSkip(one) : one === wanted))
    .length
}

function table(head, rows) {
  const line = cells => `| ${cells.join(' | ')} |`
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)]
}

/** `'1-3,7'` of 1, 2, 3, 7. */
function ranges(ids) {
  const parts = []
  for (const id of ids) {
    const last = parts.at(-1)
    if (last && last[1] === id - 1) last[1] = id
    else parts.push([id, id])
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(',')
}

function numbersOf(text) {
  return text === ''
    ? []
    : text.split(',').flatMap(part => {
        const [from, to = from] = part.split('-').map(Number)
        return Array.from({ length: to - from + 1 }, (_, i) => from + i)
      })
}

/** The report in a file, or those of new runs of a simulated machine. */
function* reportsOf(word) {
  if (word !== 'sim' && word !== 'host') {
    yield JSON.parse(readFileSync(word, 'utf8'))
    return
  }
  const main = fileURLToPath(new URL('../dist/conformance/main.js', import.meta.url))
  for (const words of RUNS[word]) {
    const run = [main, '--platform', word, '--json', ...words]
    yield JSON.parse(execFileSync(process.execPath, run, { encoding: 'utf8', maxBuffer: 2 ** 26 }))
  }
}

async function main(words) {
  for (const report of words.flatMap(word => [...reportsOf(word)])) {
    const kind = kindOf(report) === 'pv' ? '' : `-${kindOf(report)}`
    const name = `${report.platform}-${report.profile}${kind}.json`
    writeFileSync(new URL(name, REPORTS), `${JSON.stringify(kept(report), null, 2)}\n`)
  }
  const { CASES } = await import('../dist/conformance/cases/index.js')
  writeFileSync(PAGE, pageOf(keptReports(), CASES))
  console.log(fileURLToPath(PAGE))
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2))
