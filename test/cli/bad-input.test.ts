import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { giveOrder } from '../../src/host/index.ts'
import { BAD_INPUT, BAD_INPUT_PEER, type BadInputPlace, expectedRefusals } from './bad-input.ts'

const DIST = fileURLToPath(new URL('../../dist', import.meta.url))
const execute = promisify(execFile)

test('a host refuses what Xen refuses, in the same words', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'interdom-test-'))
  const interdom = (...words: string[]): string =>
    `'${process.execPath}' '${DIST}/cli/main.js' ${words.join(' ')} --dir '${directory}'`
  const shell = async (text: string, env = process.env): Promise<string> =>
    (await execute('sh', ['-c', text], { env })).stdout
  await shell(interdom('host', 'start'))
  onTestFinished(async () => {
    await shell(`${interdom('host', 'stop')} || true`)
    rmSync(directory, { recursive: true, force: true })
  })
  // Made by first use it would go with its last process, and the script disconnects for a moment.
  await shell(interdom('host', 'create', '1'))
  const { INTERDOM_PLATFORM: _, ...rest } = process.env
  const env = { ...rest, INTERDOM_HOST: directory }
  const set = (pages: number, callPages: number): string =>
    [
      interdom('host', 'set', '1', 'gntalloc.limit', String(pages)),
      interdom('host', 'set', '1', 'gntdev.limit', String(callPages)),
    ].join(' && ')
  const place: BadInputPlace = {
    dist: DIST,
    A: 1,
    B: 2,
    peer: ['env', 'INTERDOM_DOMID=2', process.execPath, BAD_INPUT_PEER, DIST, '1'],
    commands: {
      lower: set(8, 8),
      raise: set(1024, 65_536),
      close: `chmod 0 '${directory}'`,
      open: `chmod 700 '${directory}'`,
      destroy: interdom('host', 'destroy', '2'),
      remove: interdom('host', 'unload', '1', 'xen_gntalloc'),
      restore: interdom('host', 'load', '1', 'xen_gntalloc'),
    },
    knobs: ['interdom host set 1 gntalloc.limit', 'interdom host set 1 gntdev.limit'],
  }
  const words = [BAD_INPUT, JSON.stringify(place)]
  const { stdout } = await execute(process.execPath, words, {
    env: { ...env, INTERDOM_DOMID: '1' },
  })
  expect(stdout).toBe(expectedRefusals())
  expect(giveOrder(directory, { order: 'leftovers' })).toEqual([])
})
