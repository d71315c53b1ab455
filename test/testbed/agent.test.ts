import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { scriptsFolder } from '../../src/testbed/places.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'interdom-agent-'))
  const script = readFileSync(join(scriptsFolder, 'agent'), 'utf8')
  writeFileSync(join(folder, 'agent'), script.replace('/run/testbed', folder))
  mkdirSync(join(folder, 'bin'))
  for (const tool of ['cat', 'dd']) {
    const words = ['#!/bin/sh', `echo ${tool} >>'${folder}/started'`, `exec /bin/${tool} "$@"`]
    writeFileSync(join(folder, 'bin', tool), `${words.join('\n')}\n`, { mode: 0o755 })
  }
})
afterEach(() => rmSync(folder, { recursive: true }))

/** One of the three connections of a domu. */
function connection(line: string, input = '') {
  const env = { ...process.env, PATH: `${folder}/bin${delimiter}${process.env['PATH']}` }
  const child = spawn('sh', [join(folder, 'agent')], { env })
  child.stdin.on('error', () => undefined).end(`${line}\n${input}`)
  return { output: text(child.stdout), errors: text(child.stderr), ended: once(child, 'close') }
}

const start = (command: string, input?: string) =>
  connection(`start 1 ${Buffer.from(command).toString('base64')}`, input)

/** The tools that the agent has started, in their order. */
function started(): string[] {
  try {
    return readFileSync(join(folder, 'started'), 'utf8').trimEnd().split('\n')
  } catch {
    return []
  }
}

test('a command has its input, its output, its errors and its exit code', async () => {
  const connections = [
    start('tr a-z A-Z; echo error >&2; exit 3', 'input'),
    connection('errors 1'),
    connection('result 1'),
  ]
  const outputs = await Promise.all(connections.map(({ output }) => output))
  expect(outputs).toEqual(['INPUT', 'error\n', '3\n'])
  await Promise.all(connections.map(({ ended }) => ended))
})

// Busybox's shell gives up to open a FIFO when a child ends meanwhile.
test('no child that may end is there before the connection for errors', async () => {
  const command = start('true')
  await expect.poll(started, { timeout: 20_000 }).toContain('cat')
  expect(started()).not.toContain('dd')
  const others = [connection('errors 1'), connection('result 1')]
  expect(await Promise.all(others.map(({ output }) => output))).toEqual(['', '0\n'])
  expect(await command.errors).toBe('')
  await command.ended
})
