import { describe, expect, test } from 'vitest'
import {
  buildTools,
  missingTools,
  missingToolsMessage,
  runTools,
  testbedPackages,
} from '../../src/testbed/tools.ts'

describe('missing tools', () => {
  test('are those that are not there, in order', () => {
    expect(missingTools(['tar', 'xz', 'zstd'], tool => tool === 'xz')).toEqual(['tar', 'zstd'])
  })

  test('are named with what wanted them and the line that installs them', () => {
    expect(missingToolsMessage('Running', ['qemu-system-x86_64', 'xz'])).toBe(
      'Running needs qemu-system-x86_64, xz: not found in PATH. ' +
        'Install it: apt-get install --no-install-recommends qemu-system-x86 xz-utils',
    )
  })

  test('of apt itself are not to be installed by apt', () => {
    const message = missingToolsMessage('Building', ['apt-get', 'xz'])
    expect(message).toContain('use Debian 12')
    expect(message).not.toContain('apt-get install')
  })

  test('beyond what every Debian has come from the list of packages', () => {
    const everywhere = ['apt', 'coreutils', 'dpkg', 'libc-bin', 'tar', 'util-linux']
    const message = missingToolsMessage(
      'All',
      [...buildTools, ...runTools].filter(tool => !/^(apt|dpkg)/.test(tool)),
    )
    const packages = message.split('--no-install-recommends ')[1]?.split(' ') ?? []
    const own = packages.filter(name => !everywhere.includes(name))
    expect(own.sort()).toEqual([...testbedPackages].sort())
  })
})
