import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { Qmp } from '../../src/testbed/qmp.ts'

function connection(): { input: PassThrough; output: PassThrough; qmp: Qmp } {
  const [input, output] = [new PassThrough(), new PassThrough()]
  return { input, output, qmp: new Qmp(input, output) }
}

test('a command gets the next answer, past the greeting and events', async () => {
  const { input, output, qmp } = connection()
  const status = qmp.command('query-status')
  const quit = qmp.command('quit', { force: true })
  input.write('{"QMP": {}}\n{"event": "STOP"}\n{"return": {"status"')
  input.write(': "running"}}\n{"return": {}}\n')
  expect(await status).toEqual({ status: 'running' })
  expect(await quit).toEqual({})
  output.end()
  expect(Buffer.concat(await output.toArray()).toString()).toBe(
    '{"execute":"query-status","arguments":{}}\n{"execute":"quit","arguments":{"force":true}}\n',
  )
})

test('an error names the command and says what QEMU says', async () => {
  const { input, qmp } = connection()
  const answer = qmp.command('migrate')
  input.write('{"error": {"class": "GenericError", "desc": "blocked"}}\n')
  await expect(answer).rejects.toThrow('QEMU, migrate: blocked')
})

test('the end of QEMU answers all commands, those before it and those after', async () => {
  const { input, qmp } = connection()
  const before = qmp.command('query-migrate')
  input.end()
  await expect(before).rejects.toThrow('it has ended')
  await expect(qmp.command('quit')).rejects.toThrow('it has ended')
})
