import { existsSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { entryPoint } from '../base/entry-point.ts'

/** What the compiled code loads at run time, the native half of koffi among it. */
const DEPENDENCIES = ['commander', 'koffi', `@koromix/koffi-linux-${process.arch}`]

/** What of them no program loads on Linux with glibc; each byte goes into every domain. */
const NOT_LOADED =
  /\.(cc|hh|h|S|asm|inc|def|txt|d\.[cm]?ts|map|tsbuildinfo|md)$|\/(musl_\w+|vendor|cnoke\.cjs)$/

/** The compiled code of this package, of which conformance/main.js is a part. */
const DIST = fileURLToPath(entryPoint(import.meta.url, '../'))

/**
 * Copies this package into a folder, as it must be to run in a domain without npm.
 * @param dist - Folder with the compiled code.
 */
export async function copyPackage(folder: string, dist: string = DIST): Promise<void> {
  const root = dirname(DIST.replace(/\/$/, ''))
  await cp(join(root, 'package.json'), join(folder, 'package.json'))
  await cp(dist, join(folder, 'dist'), {
    recursive: true,
    filter: path => !NOT_LOADED.test(path),
  })
  for (const name of DEPENDENCIES) {
    await cp(installed(name, root), join(folder, 'node_modules', name), {
      recursive: true,
      dereference: true,
      filter: path => !NOT_LOADED.test(path),
    })
  }
}

/** Where npm put a package that ours needs: beside ours, or further up. */
function installed(name: string, from: string): string {
  const path = join(from, 'node_modules', name)
  if (existsSync(path)) return path
  const parent = dirname(from)
  if (parent === from) throw new Error(`${name} is not installed: npm ci`)
  return installed(name, parent)
}
