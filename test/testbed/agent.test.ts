import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { scriptsFolder } from '../../src/testbed/places.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'interdom-agent-'))
  const script = readFileSync(join(scriptsFolder, 'agent'), 'utf8')
  writeFileSync(
    join(folder, 'agent'),
    script.replaceAll('/run/testbed', folder).replaceAll('/payload', `${folder}/payload`),
  )
  mkdirSync(join(folder, 'bin'))
  for (const tool of ['cat', 'dd']) {
    const words = ['#!/bin/sh', `echo ${tool} >>'${folder}/started'`, `exec /bin/${tool} "$@"`]
    writeFileSync(join(folder, 'bin', tool), `${words.join('\n')}\n`, { mode: 0o755 })
  }
})
afterEach(() => rmSync(folder, { recursive: true }))

/** One connection of dom0. */
function connection(line: string, input: string | Uint8Array = '') {
  const env = { ...process.env, PATH: `${folder}/bin${delimiter}${process.env['PATH']}` }
  const child = spawn('sh', [join(folder, 'agent')], { env })
  child.stdin.on('error', () => undefined).write(`${line}\n`)
  child.stdin.end(input)
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

test('a connection can be a shell of its own', async () => {
  const shell = connection('shell', 'echo one\nexit 5\n')
  expect(await shell.output).toBe('one\n')
  expect(await shell.ended).toEqual([5, null])
})

test('an archive is unpacked, and its sender is told', async () => {
  const archive = execFileSync('tar', ['-cz', '-C', folder, 'agent'])
  const payload = connection('payload', archive)
  expect(await payload.output).toBe('unpacked\n')
  expect(readdirSync(join(folder, 'payload'))).toEqual(['agent'])
})

test('of an archive that is not whole nobody is told that it is there', async () => {
  const payload = connection('payload', 'no archive')
  expect(await payload.output).toBe('')
})
