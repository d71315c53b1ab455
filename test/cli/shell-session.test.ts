import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { describe, expect } from 'vitest'
import { ShellInterpreter } from '../../src/cli/shell-interpreter.ts'
import { pipeSession, terminalSession } from '../../src/cli/shell-session.ts'
import type { World } from '../../src/sim/index.ts'
import { test } from '../setup/world.ts'

function shellOn(world: World, domid: number) {
  const process = world.domain(domid).process()
  const interpreter = new ShellInterpreter(process, { pid: 1, random: () => 2 })
  const [input, output] = [new PassThrough(), new PassThrough()]
  let said = ''
  output.setEncoding('latin1').on('data', text => {
    said += text
  })
  const ended = async () => {
    output.end()
    await once(output, 'end')
    process.close()
    return said
  }
  return { interpreter, input, output, ended }
}

describe('on a pipe', () => {
  test('the prompt is "> " after an empty line, and the end of the input ends it', async ({
    world,
  }) => {
    const { interpreter, input, output, ended } = shellOn(world, 1)
    const session = pipeSession(interpreter, input, output)
    input.end('show\nadel 0\n')
    await session
    expect((await ended()).split(' PID 1\n')[1]).toBe(
      '\n> \n> src-del error: Invalid argument (rv=-1)\n\n> ',
    )
  })
})

describe('on a terminal', () => {
  test('there is a domain prompt and help, and the same lines', async ({ world }) => {
    const { interpreter, input, output, ended } = shellOn(world, 3)
    const session = terminalSession(interpreter, 3, input, output)
    input.write('add 4\rhelp\radel 0\r')
    input.end()
    await session
    const said = await ended()
    expect(said).toContain(' PID 1\n')
    expect(said).toContain('dom3> ')
    expect(said).toMatch(/Created shared page with domain 4, grant #8\. Mapped locally at 0=0x/)
    expect(said).toMatch(/help +this list\n/)
    expect(said).toContain('Stopped offering grant at offset 0\n')
  })

  test('a peer’s text cannot steer the terminal', async ({ world, open }) => {
    const { interpreter, input, output, ended } = shellOn(world, 1)
    const b = open(2)
    interpreter.execute('add 2')
    using far = b.map({ domid: 1, ref: 8 }, { writable: true })
    far.bytes.set(new TextEncoder().encode('\x1b[2Jgrüß\x07'), 8)
    const session = terminalSession(interpreter, 1, input, output)
    input.write('show\r')
    input.end()
    await session
    const text = Buffer.from(await ended(), 'latin1').toString('utf8')
    expect(text).toMatch(/b=\?\[2Jgrüß\?\n/)
  })

  test('Ctrl-C gives up the line', async ({ world }) => {
    const { interpreter, input, output, ended } = shellOn(world, 1)
    const session = terminalSession(interpreter, 1, input, output)
    input.write('add 2\x03show\r')
    input.end()
    await session
    const said = await ended()
    expect(said).toContain('^C\n')
    expect(said).not.toContain('Created')
  })
})
