import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The guests' scripts: two levels up both from the sources and from the compiled code. */
export const scriptsFolder: string = fileURLToPath(new URL('../../testbed/', import.meta.url))

/** The loader of glibc, below the root of this machine and of the domains. */
export const loader = 'lib64/ld-linux-x86-64.so.2'

/** Where packages, images and the records of runs are kept. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const own = env['INTERDOM_TESTBED_CACHE']
  if (own !== undefined && own !== '') return own
  const base = env['XDG_CACHE_HOME']
  const caches = base !== undefined && base !== '' ? base : join(homedir(), '.cache')
  return join(caches, 'interdom', 'testbed')
}
