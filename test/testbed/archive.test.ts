import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { cpioHeader, writeArchive } from '../../src/testbed/archive.ts'

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'interdom-archive-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

/** Reads the form back: each entry's name, mode and content. */
function entriesOf(bytes: Buffer): { path: string; mode: number; content: string }[] {
  const entries = []
  const aligned = (n: number): number => Math.ceil(n / 4) * 4
  for (let at = 0; at < bytes.length; ) {
    const field = (n: number): number =>
      Number.parseInt(bytes.toString('latin1', at + 6 + 8 * n, at + 14 + 8 * n), 16)
    expect(bytes.toString('latin1', at, at + 6)).toBe('070701')
    const [mode, size, nameSize] = [field(1), field(6), field(11)]
    const path = bytes.toString('utf8', at + 110, at + 110 + nameSize - 1)
    const start = aligned(at + 110 + nameSize)
    entries.push({ path, mode, content: bytes.toString('utf8', start, start + size) })
    at = aligned(start + size)
  }
  return entries
}

test('a header has the bytes that the kernel expects', () => {
  expect(cpioHeader('init', 1, 0o100755, 5).toString('latin1')).toBe(
    '070701' +
      '00000001' + // inode
      '000081ed' + // mode
      '00000000' + // user
      '00000000' + // group
      '00000001' + // links
      '00000000' + // time
      '00000005' + // size
      '00000000000000000000000000000000' + // devices
      '00000005' + // length of the name with its zero
      '00000000' + // check
      'init\0\0', // padded to a multiple of four with the zero
  )
})

test('an archive holds folders, links, contents and files, and a trailer', async () => {
  const path = folder()
  writeFileSync(join(path, 'source'), 'from a file')
  await writeArchive(join(path, 'out'), [
    { path: 'bin', kind: 'folder' },
    { path: 'bin/sh', kind: 'link', target: 'busybox' },
    { path: 'bin/busybox', kind: 'file', mode: 0o755, source: join(path, 'source') },
    { path: 'text', kind: 'file', mode: 0o644, content: Buffer.from('abc') },
  ])
  expect(entriesOf(readFileSync(join(path, 'out')))).toEqual([
    { path: 'bin', mode: 0o040755, content: '' },
    { path: 'bin/sh', mode: 0o120777, content: 'busybox' },
    { path: 'bin/busybox', mode: 0o100755, content: 'from a file' },
    { path: 'text', mode: 0o100644, content: 'abc' },
    { path: 'TRAILER!!!', mode: 0, content: '' },
  ])
})

test('an archive never replaces a file', async () => {
  const path = folder()
  writeFileSync(join(path, 'out'), '')
  await expect(writeArchive(join(path, 'out'), [])).rejects.toThrow('EEXIST')
})
