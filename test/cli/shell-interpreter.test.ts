import { describe, expect } from 'vitest'
import { ShellInterpreter } from '../../src/cli/shell-interpreter.ts'
import type { Platform } from '../../src/platform.ts'
import type { WorldProcess } from '../../src/sim/index.ts'
import { test as base } from '../setup/world.ts'

interface Shells {
  readonly shell: (process: WorldProcess) => ShellInterpreter
}

const test = base.extend<Shells>({
  shell: async ({ world: _ }, use) => {
    const processes: Platform[] = []
    await use(process => {
      processes.push(process)
      return new ShellInterpreter(process, { pid: 0xabc, random: () => 0x89abcdef })
    })
    for (const process of processes.reverse()) process.close()
  },
})

/** The transcript with what differs from run to run replaced by its name. */
function anonymous(text: string): string {
  return text.replace(/0x[0-9a-f]+/g, 'PTR').replace(/\((\d{6,}),/g, '(ADDRESS,')
}

describe('the shell', () => {
  test('begins with its commands and the process id in hexadecimal', ({ world, shell }) => {
    const lines = shell(world.domain(1).process()).greeting().split('\n')
    expect(lines.map(line => line.split(/ {2,}/)[0])).toEqual([
      'add DOMID',
      'map DOMID REF',
      'adel INDEX',
      'ddel INDEX',
      'unmap ADDRESS',
      'show',
      '<word>',
      ' PID abc',
      '',
    ])
  })

  test('plays the tour of 2011, to the byte', ({ world, shell }) => {
    const [a, b] = [shell(world.domain(1).process()), shell(world.domain(2).process())]
    expect(anonymous(a.execute('add 2'))).toBe(
      'Created shared page with domain 2, grant #8. Mapped locally at 0=PTR\n',
    )
    expect(anonymous(b.execute('map 1 8'))).toBe('Mapped grant 1.8 as 0=PTR\n')
    const id = '     abc89abcdef'
    expect(anonymous(a.execute('hello'))).toBe(`00(ADDRESS,0): id ${id} n=11000000 b=hello\n`)
    expect(anonymous(b.execute('oh-'))).toBe(`00(ADDRESS,0): id ${id} n=11000000 b=oh-hello\n`)
    expect(a.execute('adel 0')).toBe('Stopped offering grant at offset 0\n')
    expect(b.execute('ddel 0')).toBe('Unhooked mapped grant at offset 0\n')
    const address = /\((\d+),/.exec(b.execute('show'))?.[1]
    expect(anonymous(b.execute(`unmap ${address}`))).toBe('Unmapped page at PTR\n')
    expect(b.execute('show')).toBe('')
    expect(anonymous(a.execute('show'))).toBe(`00(ADDRESS,0): id ${id} n=10000000 b=oh-hello\n`)
  })

  test('says in the words of strerror what was refused', ({ world, shell }) => {
    const a = shell(world.domain(1, { limits: { 'gntalloc.limit': 0 } }).process())
    expect(a.execute('add 2')).toBe('src-add error: No space left on device (rv=-1)\n')
    expect(a.execute('adel 0')).toBe('src-del error: Invalid argument (rv=-1)\n')
    expect(a.execute('ddel 4096')).toBe('gu error: No such file or directory (rv=-1)\n')
    expect(a.execute('map 2 8')).toBe('Could not map grant 2.8: Invalid argument (map failed)\n')
    const b = shell(world.domain(3, { limits: { 'gntdev.limit': 0 } }).process())
    expect(b.execute('map 2 8')).toBe('Could not map grant 2.8: Invalid argument (rv=-1)\n')
  })

  test('leaves a map that could not be mmapped to the driver, as the original did', ({
    world,
    shell,
  }) => {
    const [a, b] = [shell(world.domain(1).process()), shell(world.domain(2).process())]
    a.execute('add 2')
    b.execute('map 1 99')
    expect(anonymous(b.execute('map 1 8'))).toBe('Mapped grant 1.8 as 4096=PTR\n')
    expect(b.execute('ddel 0')).toBe('Unhooked mapped grant at offset 0\n')
  })

  test('clears its byte when it is killed, on either side', ({ world, shell }) => {
    const [first, second] = [world.domain(1).process(), world.domain(2).process()]
    const [a, b] = [shell(first), shell(second)]
    a.execute('add 2')
    b.execute('map 1 8')
    second.kill()
    expect(a.execute('show')).toContain(' n=10000000 ')
    const c = shell(world.domain(2).process())
    c.execute('map 1 8')
    first.kill()
    expect(c.execute('show')).toContain(' n=01000000 ')
  })

  test('gives each user of a page the lowest free byte, and an eighth none', ({ world, shell }) => {
    const a = shell(world.domain(1).process())
    a.execute('add 1')
    for (let user = 1; user < 8; user++) {
      expect(anonymous(a.execute('map 1 8'))).toBe(`Mapped grant 1.8 as ${(user - 1) * 4096}=PTR\n`)
    }
    expect(a.execute('show').split('\n')[0]).toContain(' n=11111111 ')
    expect(a.execute('map 1 8').split('\n')[1]).toBe(
      'gntdev unmap notify error: No space left on device (rv=-1)',
    )
    const third = /02\((\d+),/.exec(a.execute('show'))?.[1]
    a.execute('ddel 4096')
    a.execute(`unmap ${third}`)
    expect(a.execute('show').split('\n')[0]).toContain(' n=11011111 ')
    a.execute('map 1 8')
    expect(a.execute('show').split('\n')[2]).toMatch(/^02\(/)
  })

  test('cuts a word that is longer than the buffer', ({ world, shell }) => {
    const a = shell(world.domain(1).process())
    a.execute('add 2')
    a.execute('tail')
    expect(a.execute('x'.repeat(79)).trimEnd()).toMatch(/ n=10000000 b=x{64}$/)
    expect(a.execute('y'.repeat(60)).trimEnd()).toMatch(/ n=10000000 b=y{60}x{4}$/)
  })

  test('refuses to unmap what is no item', ({ world, shell }) => {
    const process = world.domain(1).process()
    const a = shell(process)
    const other = process.memory.alloc(4096)
    expect(a.execute(`unmap ${other}`)).toBe(`No page is mapped at 0x${other.toString(16)}\n`)
    expect(process.memory.view(other, 1)[0]).toBe(0)
  })

  test('takes addresses in hexadecimal too', ({ world, shell }) => {
    const a = shell(world.domain(1).process())
    const pointer = /=(0x[0-9a-f]+)/.exec(a.execute('add 2'))?.[1]
    expect(a.execute(`unmap ${pointer}`)).toBe(`Unmapped page at ${pointer}\n`)
  })

  test('answers a command without its numbers with the usage', ({ world, shell }) => {
    const a = shell(world.domain(1).process())
    expect(a.execute('add')).toBe('usage: add DOMID\n')
    expect(a.execute('map 1')).toBe('usage: map DOMID REF\n')
    expect(a.execute('map 1 x')).toBe('usage: map DOMID REF\n')
    expect(a.execute('unmap -1')).toBe('usage: unmap ADDRESS\n')
    expect(a.execute('add 65536')).toBe('usage: add DOMID, below 65536\n')
    expect(a.execute('  ')).toBe('')
  })

  test('holds up to 128 pages', ({ world, shell }) => {
    const a = shell(world.domain(1).process())
    for (let i = 0; i < 128; i++) a.execute('add 2')
    expect(a.execute('add 2')).toBe('All 128 pages are in use\n')
    expect(a.execute('map 2 8')).toBe('All 128 pages are in use\n')
    expect(a.execute('show').split('\n').at(-2)).toMatch(/^127\(/)
  })

  test('completes commands, live refs, indexes and addresses', ({ world, shell }) => {
    const a = shell(world.domain(1).process())
    a.execute('add 1')
    a.execute('map 1 8')
    const addresses = [...a.execute('show').matchAll(/\((\d+),/g)].map(([, address]) => address)
    expect(a.completions('a')).toEqual(['add', 'adel'])
    expect(a.completions('map ')).toEqual(['1'])
    expect(a.completions('map 1 ')).toEqual(['8'])
    expect(a.completions('adel ')).toEqual(['0'])
    expect(a.completions('ddel ')).toEqual(['0'])
    expect(a.completions('unmap ')).toEqual(addresses)
    expect(a.completions('<')).toEqual([])
  })
})
