import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { readU16 } from '../../src/abi/bytes.ts'
import { DOMID_SELF } from '../../src/abi/domid.ts'
import { ERRNO } from '../../src/abi/errno.ts'
import { EVTCHN_BIND_INTERDOMAIN } from '../../src/abi/evtchn.ts'
import { seededRandom } from '../../src/base/random.ts'
import { createSimRig } from '../../src/conformance/sim-rig.ts'
import { EXCLUSIONS } from '../../src/differential/exclusions.ts'
import { type Composed, compose } from '../../src/differential/generator.ts'
import { Model, type Taken } from '../../src/differential/model.ts'
import { Names } from '../../src/differential/names.ts'
import { RigStage } from '../../src/differential/rig-stage.ts'
import { runDifferential } from '../../src/differential/run.ts'
import {
  describeStep,
  OTHER_PROCESSES,
  type Sequence,
  sideOf,
} from '../../src/differential/sequence.ts'
import { shrink } from '../../src/differential/shrinker.ts'
import { scoresOf, scriptFor } from '../../src/differential/xen-performer.ts'
import { PROFILES } from '../../src/kernel/profiles.ts'
import type { Platform } from '../../src/platform.ts'
import { breakIoctl } from '../conformance/fixtures/broken-platform.ts'

const PROFILE = 'linux-6.12'

/** A tape as the player would make it on a machine that answers as the model did. */
function tapeOf(taken: readonly Taken[]): string[] {
  return taken.map(one => {
    if (!('reply' in one)) return '0'
    const { result, bytes = new Uint8Array(), readiness, signal } = one.reply
    const { in: readable, out, err } = readiness ?? { in: false, out: false, err: false }
    if (readiness) return String((readable ? 1 : 0) + (out ? 4 : 0) + (err ? 8 : 0))
    if (signal) return signal === 'SIGBUS' ? '-7' : '-11'
    return `${result} ${Buffer.from(bytes).toString('hex')}`
  })
}

test('the same seed makes the same sequence, and another makes another', async () => {
  const model = new Model(PROFILE)
  const first = await compose(model, 1)
  expect(await compose(model, 1)).toEqual(first)
  expect((await compose(model, 2)).sequence).not.toEqual(first.sequence)
  expect(first.sequence.length).toBeGreaterThanOrEqual(30)
  await model.close()
})

test('what a tape tells is what the model saw, where the machine answers alike', async () => {
  const model = new Model(PROFILE)
  const composed = []
  for (let seed = 1; seed <= 10; seed++) composed.push(await compose(model, seed))
  const tape = composed.flatMap(({ taken }) => tapeOf(taken)).join('\n')
  const texts = (scores: readonly (readonly { text: string }[])[]) =>
    scores.map(score => score.map(({ text }) => text))
  expect(texts(await scoresOf(composed, tape))).toEqual(texts(composed.map(one => one.score)))
  expect(scriptFor(composed).split('\n')).toHaveLength(tape.split('\n').length + 1)
  await model.close()
})

test('a script has variables for what another kernel numbers otherwise', async () => {
  const model = new Model(PROFILE)
  const script = scriptFor([await compose(model, 3)])
  expect(script).toMatch(/^0 arena 26$/m)
  expect(script).toMatch(/^\d open gntalloc \d+ \$\d+$/m)
  expect(script).toMatch(/ ioctl \$\d+ 1591045 .* >16:4:\$\d+/)
  expect(script).toMatch(/ mmap \$\d+ \d+ \d+ \d 1 @\d+$/m)
  await model.close()
})

test('a script with two domains names the guest by a word, and its processes from 4 on', async () => {
  const model = new Model(PROFILE, 2)
  const composed: Composed[] = []
  for (let seed = 1; seed <= 20; seed++) composed.push(await compose(model, seed))
  await model.close()
  const script = scriptFor(composed)
  expect(script.match(/^0 guest$/gm)).toHaveLength(composed.length)
  expect(script).toMatch(/^4 open gntdev \d+ \$\d+$/m)
  // dom0 grants to the guest, and the guest maps what dom0 granted.
  expect(script).toMatch(/^[0-3] ioctl \$\d+ 1591045 2:% /m)
  expect(script).toMatch(/^[4-7] ioctl \$\d+ 1591040 .* 2:0 2:0 4:\$\d+/m)
  const isOnGuest = ({ sequence }: Composed) =>
    sequence.some(step => 'process' in step && step.process >= OTHER_PROCESSES)
  expect(composed.every(isOnGuest)).toBe(true)
})

test('sequences have every kind of step, in time', async () => {
  const model = new Model(PROFILE, 2)
  const kinds = new Set<string>()
  for (let seed = 0; seed < 150; seed++) {
    for (const step of (await compose(model, seed)).sequence) {
      kinds.add('hurdle' in step ? `${step.do} ${step.hurdle}` : step.do)
    }
  }
  await model.close()
  const hurdles = ['alloc', 'map'].flatMap(call => [`${call} readonly`, `${call} cut`])
  for (const kind of ['settle', 'destroy', 'flood', 'dup', 'limit', 'copy', 'kill', ...hurdles]) {
    expect(kinds).toContain(kind)
  }
})

const SHORTEST = ['open', 'open', 'bindUnbound', 'bindInterdomain']

test('a difference that needs two domains is found and made short', async () => {
  // Nobody can be connected with in another domain, though everybody could.
  const wrap = (process: Platform): Platform =>
    breakIoctl(EVTCHN_BIND_INTERDOMAIN, (argument, device) => {
      const result = device.ioctl(EVTCHN_BIND_INTERDOMAIN, argument)
      const domid = readU16(argument, 0)
      const isOwn = domid === process.domid || domid === DOMID_SELF
      return result > 0 && !isOwn ? -ERRNO.EBUSY : result
    })(process)
  const rig = createSimRig({ profile: PROFILES[PROFILE], wrap })
  const stage = new RigStage(rig, 2)
  const report = await runDifferential(stage, { profile: PROFILE, seed: 1, count: 8, domains: 2 })
  expect(report.differences.length).toBeGreaterThan(0)
  for (const { sequence, seen } of report.differences) {
    expect(seen).toBe('EBUSY')
    expect(sequence.map(step => step.do)).toEqual(SHORTEST)
    const sides = sequence.flatMap(step => (step.do === 'open' ? [sideOf(step.process)] : []))
    expect(sides.toSorted()).toEqual([0, 1])
  }
  await stage.close()
})

test('a difference between kernels is found and made short', async () => {
  const stage = new RigStage(createSimRig({ profile: PROFILES['linux-6.1'] }))
  const report = await runDifferential(stage, { profile: PROFILE, seed: 1, count: 40 })
  expect(report.differences.length).toBeGreaterThan(0)
  for (const { sequence, expected, seen } of report.differences) {
    expect([expected, seen]).toEqual(['EISCONN', 'ENOSYS'])
    // A port, the other end of it or not, and the call.
    expect(sequence.length).toBeLessThanOrEqual(4)
    expect(sequence.at(-1)?.do).toBe('bindStatic')
  }
  expect(report.unsteady).toEqual([])
  await stage.close()
})

test('shrinking keeps what a failure needs', async () => {
  const random = seededRandom(7)
  const sequence: Sequence = Array.from({ length: 50 }, (_, id) => ({
    id,
    do: 'munmap',
    process: random() % 3,
    page: id,
    pages: 1 + (random() % 4),
  }))
  const needed = [3, 17, 41]
  const shortest = await shrink(sequence, async candidate =>
    needed.every(id => candidate.some(step => step.id === id)),
  )
  expect(shortest).toEqual(needed.map(id => ({ id, do: 'munmap', process: 0, page: id, pages: 1 })))
})

test('numbers are named in the order in which they appear, and keep their names', () => {
  const names = new Names()
  const all = [9, 4, 9].map(ref => names.name('ref', ref))
  expect([...all, names.name('port', 4)]).toEqual(['ref.0', 'ref.1', 'ref.0', 'port.0'])
  names.neverAgain('ref')
  expect([names.name('ref', 9), names.given('ref', 9)]).toEqual(['ref.0', 'ref.2'])
})

test('a step is a line for a person', () => {
  const at = { of: 5, page: 1, byte: 0 }
  expect(describeStep({ id: 7, do: 'dealloc', fd: 3, at, count: 2 })).toBe(
    '  7 dealloc fd=3 at={of:5,page:1,byte:0} count=2',
  )
})

test('the page on differential runs names all that is never played, with the reason', () => {
  const page = readFileSync(new URL('../../docs/differential.md', import.meta.url), 'utf8')
  for (const [what, why] of Object.entries(EXCLUSIONS))
    expect(page).toContain(`| ${what} | ${why} |`)
})

test('a kernel of real Xen is not named without its profile, nor a profile without its kernel', () => {
  const main = fileURLToPath(new URL('../../dist/differential/main.js', import.meta.url))
  for (const words of [
    ['--kernel', 'linux-image-amd64'],
    ['--profile', 'linux-6.1'],
  ]) {
    const { status, stderr } = spawnSync(process.execPath, [main, '--platform', 'xen', ...words])
    expect(status).toBe(2)
    expect(String(stderr)).toContain('--kernel and --profile go together')
  }
})
