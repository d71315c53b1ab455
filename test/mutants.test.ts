import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { MUTANTS as ALL } from '../mutants/index.mjs'

interface Mutant {
  readonly name: string
  readonly file: string
  readonly edits: readonly (readonly [find: string, replace: string])[]
  readonly survives?: string
}

const MUTANTS = ALL as unknown as readonly Mutant[]

/** At least so many bugs are planted, some in each of these files. */
const PLANTED_MIN = 40
const FILES = [
  'src/hypervisor/channel-calls.ts',
  'src/hypervisor/grant-copy.ts',
  'src/hypervisor/grant-mapping.ts',
  'src/hypervisor/grant-table.ts',
  'src/hypervisor/maptrack.ts',
  'src/host/session.ts',
  'src/kernel/address-space.ts',
  'src/kernel/evtchn.ts',
  'src/kernel/gntalloc.ts',
  'src/kernel/gntdev.ts',
  'src/kernel/unmap-notify.ts',
]

const text = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')

test('each planted bug still has its place, exactly once', () => {
  const astray = MUTANTS.flatMap(({ name, file, edits }) =>
    edits
      .filter(([find]) => text(file).split(find).length !== 2)
      .map(([find]) => `${name}: ${file} has not once: ${find}`),
  )
  expect(astray).toEqual([])
})

test('there are enough of them, in every driver, and each has a name of its own', () => {
  expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length)
  expect(MUTANTS.length).toBeGreaterThanOrEqual(PLANTED_MIN)
  const files = new Set(MUTANTS.map(({ file }) => file))
  expect(FILES.filter(file => !files.has(file))).toEqual([])
  expect(MUTANTS.filter(({ edits }) => edits.length === 0)).toEqual([])
})

test('the results tell of each bug what caught it, or the list why nothing can', () => {
  const results = JSON.parse(text('mutants/results.json'))
  expect(Object.keys(results).sort()).toEqual(MUTANTS.map(({ name }) => name).sort())
  const wrong = MUTANTS.filter(
    ({ name, survives }) => (results[name].by === undefined) !== (survives !== undefined),
  )
  expect(wrong.map(({ name }) => name)).toEqual([])
})
