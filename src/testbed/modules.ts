import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { TestbedError } from './failure.ts'
import { packingOf, unpack } from './kernel-image.ts'

/** The modules that each kind of domain loads; what they depend on is found in the modules. */
export const moduleSets: Record<string, readonly string[]> = {
  common: ['xen_privcmd', 'xenfs', 'xen_evtchn', 'xen_gntdev', 'xen_gntalloc'],
  dom0: ['virtio_pci', '9pnet_virtio', '9p', 'virtio_blk', 'xen_netback'],
  guest: ['xen_netfront'],
}

export interface Module {
  /** With underscores, whatever the file's name has. */
  name: string
  content: Buffer
}

/** What a module says it needs; the build puts it in the .modinfo section as plain text. */
export function dependenciesOf(module: Buffer): string[] {
  const key = '\0depends='
  const start = module.indexOf(key, 0, 'latin1')
  if (start < 0) return []
  const end = module.indexOf(0, start + key.length)
  const list = module.toString('latin1', start + key.length, end)
  return list.split(',').filter(name => name !== '')
}

/**
 * The wanted modules and all they need, each after what it needs. Kernels differ in which of them
 * are built in: those are left out.
 */
export async function collectModules(root: string, wanted: readonly string[]): Promise<Module[]> {
  const files = moduleFiles(root)
  const builtIn = new Set(
    readFileSync(join(root, 'modules.builtin'), 'utf8').split('\n').map(moduleName),
  )
  const found = new Map<string, Module>()
  const visit = async (name: string): Promise<void> => {
    if (found.has(name) || builtIn.has(name)) return
    const path = files.get(name)
    if (path === undefined) {
      throw new TestbedError('ERR_TESTBED_IMAGE', `the kernel package has no module ${name}`)
    }
    const bytes = readFileSync(path)
    const content = await unpack(packingOf(bytes) ?? 'none', bytes)
    for (const needed of dependenciesOf(content)) await visit(moduleName(needed))
    found.set(name, { name, content })
  }
  for (const name of wanted) await visit(name)
  return [...found.values()]
}

/** A module's name from a path: `drivers/xen/xen-gntdev.ko.xz` is `xen_gntdev`. */
export function moduleName(path: string): string {
  const file = path.slice(path.lastIndexOf('/') + 1)
  return file.replace(/\.ko(\.\w+)?$/, '').replaceAll('-', '_')
}

function moduleFiles(root: string): Map<string, string> {
  const paths = readdirSync(root, { recursive: true, encoding: 'utf8' })
  const modules = paths.filter(path => /\.ko(\.\w+)?$/.test(path))
  return new Map(modules.map(path => [moduleName(path), join(root, path)]))
}
