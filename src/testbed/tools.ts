import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { TestbedError } from './failure.ts'

/** The Debian packages that the test bed needs on the host beyond what every Debian has. */
export const testbedPackages: readonly string[] = ['qemu-system-x86', 'xz-utils', 'zstd']

/** Which package brings a tool. The last group is on every Debian, and only there. */
const packageOf: Record<string, string> = {
  'qemu-system-x86_64': 'qemu-system-x86',
  xz: 'xz-utils',
  zstd: 'zstd',

  'apt-cache': 'apt',
  'apt-get': 'apt',
  'dpkg-deb': 'dpkg',
  flock: 'util-linux',
  ldd: 'libc-bin',
  tar: 'tar',
  timeout: 'coreutils',
}

export const buildTools: readonly string[] = [
  'apt-get',
  'apt-cache',
  'dpkg-deb',
  'flock',
  'ldd',
  'tar',
  'xz',
  'zstd',
]
export const runTools: readonly string[] = ['qemu-system-x86_64', 'tar', 'timeout']

/** The tools of a list that are not there, in the list's order. */
export function missingTools(
  wanted: readonly string[],
  isThere: (tool: string) => boolean = isOnPath,
): string[] {
  return wanted.filter(tool => !isThere(tool))
}

/** One sentence for what was wanted, one for what is missing, one for what to do. */
export function missingToolsMessage(purpose: string, missing: readonly string[]): string {
  const head = `${purpose} needs ${missing.join(', ')}: not found in PATH.`
  if (missing.some(tool => packageOf[tool] === 'apt' || packageOf[tool] === 'dpkg')) {
    return `${head} The test bed takes Xen and Linux from Debian's packages: use Debian 12.`
  }
  const packages = [...new Set(missing.map(tool => packageOf[tool] ?? tool))]
  return `${head} Install it: apt-get install --no-install-recommends ${packages.join(' ')}`
}

/** Throws one error that names everything that is missing. */
export function requireTools(purpose: string, wanted: readonly string[]): void {
  const missing = missingTools(wanted)
  if (missing.length > 0) {
    throw new TestbedError('ERR_TESTBED_TOOLS', missingToolsMessage(purpose, missing))
  }
}

function isOnPath(tool: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some(folder => {
    try {
      accessSync(join(folder, tool), constants.X_OK)
      return folder !== ''
    } catch {
      return false
    }
  })
}
