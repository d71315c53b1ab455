import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { cacheFolder, scriptsFolder } from '../../src/testbed/places.ts'
import { parseLdd } from '../../src/testbed/root-files.ts'

test('the cache is where the environment says', () => {
  expect(cacheFolder({ INTERDOM_TESTBED_CACHE: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a')
  expect(cacheFolder({ INTERDOM_TESTBED_CACHE: '', XDG_CACHE_HOME: '/b' })).toBe(
    '/b/interdom/testbed',
  )
  expect(cacheFolder({})).toBe(join(homedir(), '.cache/interdom/testbed'))
})

test("the guests' scripts are found", () => {
  for (const name of ['init', 'dom0', 'guest', 'agent', 'domu', 'vif']) {
    expect(existsSync(join(scriptsFolder, name))).toBe(true)
  }
})

test('the libraries of a program are read from what ldd says', () => {
  const text = [
    '\tlinux-vdso.so.1 (0x00007ffd)',
    '\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f26)',
    '\tlibxenctrl.so.4.17 => /a path/libxenctrl.so.4.17 (0x00007f27)',
    '\tlibyajl.so.2 => not found',
    '\t/lib64/ld-linux-x86-64.so.2 (0x00007f28)',
    '',
  ].join('\n')
  expect(parseLdd(text)).toEqual([
    ['libc.so.6', '/lib/x86_64-linux-gnu/libc.so.6'],
    ['libxenctrl.so.4.17', '/a path/libxenctrl.so.4.17'],
    ['libyajl.so.2', undefined],
  ])
})
