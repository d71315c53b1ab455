import { chmodSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { parseUris, resolveKernel, resolvePackages } from '../../src/testbed/packages.ts'

test("apt's list of addresses gives names and files", () => {
  const text =
    "'http://mirror.example/b/busybox-static_1.35.0-4%2bb1_amd64.deb' " +
    'busybox-static_1%3a1.35.0-4+b1_amd64.deb 928188 SHA256:00\n' +
    "'http://mirror.example/x/xl_4.deb' xl_4_amd64.deb 1 SHA256:11"
  expect(parseUris(text)).toEqual([
    { name: 'busybox-static', file: 'busybox-static_1%3a1.35.0-4+b1_amd64.deb' },
    { name: 'xl', file: 'xl_4_amd64.deb' },
  ])
})

describe('asking apt', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'interdom-packages-'))
    vi.stubEnv('PATH', `${folder}:${process.env['PATH']}`)
  })
  afterEach(() => {
    vi.unstubAllEnvs()
    rmSync(folder, { recursive: true })
  })

  function tool(name: string, script: string): void {
    writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`)
    chmodSync(join(folder, name), 0o755)
  }

  test('keeps the order of the names', async () => {
    tool('apt-get', `echo "'u' b_1_amd64.deb 1 S"; echo "'u' a_1_amd64.deb 1 S"`)
    const files = await resolvePackages(['a', 'b'], folder)
    expect(files.map(({ name }) => name)).toEqual(['a', 'b'])
  })

  test('without an answer falls back on the newest files there are', async () => {
    tool('apt-get', 'echo "E: Unable to locate package a" >&2; exit 100')
    for (const [file, time] of [
      ['a_1_amd64.deb', 1],
      ['a_2_amd64.deb', 3],
      ['ab_9.deb', 9],
    ]) {
      writeFileSync(join(folder, `${file}`), '')
      utimesSync(join(folder, `${file}`), Number(time), Number(time))
    }
    expect(await resolvePackages(['a'], folder)).toEqual([{ name: 'a', file: 'a_2_amd64.deb' }])
  })

  test('without an answer and files says what apt said and what to do', async () => {
    tool('apt-get', 'echo "E: Unable to locate package a" >&2; exit 100')
    await expect(resolvePackages(['a'], folder)).rejects.toThrow(
      /Unable to locate package a\n.*run apt-get update/,
    )
  })

  test('takes the name for the newest kernel as the one it depends on', async () => {
    tool('apt-cache', 'printf "linux-image-amd64\\n  Depends: linux-image-6.1.0-56-amd64\\n"')
    expect(await resolveKernel('linux-image-amd64')).toBe('linux-image-6.1.0-56-amd64')
    expect(await resolveKernel('linux-image-6.12.117-x')).toBe('linux-image-6.12.117-x')
  })
})
