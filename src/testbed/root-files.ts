import { readdirSync, readFileSync, realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Entry } from './archive.ts'
import { TestbedError } from './failure.ts'
import { collectModules, moduleSets } from './modules.ts'
import { xenVersion } from './package-names.ts'
import { loader, scriptsFolder } from './places.ts'
import { execute } from './process.ts'

/** Where the parts of the file system come from. */
export interface RootSources {
  /** Folder with one folder per unpacked package. */
  packages: string
  /** Name of the kernel's package. */
  kernel: string
  /** The node binary for the domains. */
  node: string
}

const libraries = 'lib/x86_64-linux-gnu'
const xenTools = [
  'xl',
  'xenstored',
  'xenconsoled',
  'xenconsole',
  'xen-init-dom0',
  'xen-diag',
  'lsevtchn',
]
const storeTools = ['chmod', 'exists', 'list', 'ls', 'read', 'rm', 'watch', 'write']
const emptyFolders = [
  ...['dev', 'host', 'lib64', 'proc', 'root', 'run/lock', 'run/xen', 'run/xenstored'],
  ...['sys', 'tmp', 'usr/sbin', 'var/lib/xen', 'var/lib/xenstored', 'var/log/xen'],
]
const texts: Record<string, string> = {
  // Node and shells ask who they are; some tests become nobody.
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n',
  'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
  'etc/hosts': '127.0.0.1 localhost\n',
  // dom0's memory is fixed on Xen's command line; xl must not try to take some of it.
  'etc/xen/xl.conf': 'autoballoon="off"\n',
}
const executable = 0o755
const readable = 0o644

/** One file system for dom0 and all guests, parents before children. */
export async function rootEntries(from: RootSources): Promise<Entry[]> {
  const tools = join(
    from.packages,
    `xen-utils-${xenVersion}`,
    'usr/lib',
    `xen-${xenVersion}`,
    'bin',
  )
  const store = join(from.packages, 'xenstore-utils/usr/bin')
  const programs = [
    ...xenTools.map(name => join(tools, name)),
    ...storeTools.map(name => join(store, `xenstore-${name}`)),
    from.node,
  ]
  const entries: Entry[] = [
    ...emptyFolders.map((path): Entry => ({ path, kind: 'folder' })),
    { path: 'sbin', kind: 'link', target: 'bin' },
    { path: 'var/run', kind: 'link', target: '../run' },
    { path: 'var/lock', kind: 'link', target: '../run/lock' },
    ...Object.entries(texts).map(([path, text]) => file(path, readable, text)),
    ...(await shell(from.packages)),
    ...programs.map(source => {
      const name = source === from.node ? 'node' : basename(source)
      return copy(`usr/bin/${name}`, executable, source)
    }),
    ...(await libraryEntries(from.packages, programs)),
    ...(await moduleEntries(kernelModules(from))),
    ...scripts(),
  ]
  return [...parents(entries), ...entries.filter(entry => entry.kind !== 'folder')]
}

async function shell(packages: string): Promise<Entry[]> {
  const busybox = join(packages, 'busybox-static/bin/busybox')
  const applets = (await execute(busybox, ['--list'])).toString().trim().split('\n')
  return [
    copy('bin/busybox', executable, busybox),
    ...applets
      .filter(name => name !== 'busybox')
      .map((name): Entry => ({ path: `bin/${name}`, kind: 'link', target: 'busybox' })),
  ]
}

/** The shared libraries of these programs: Xen's from the packages, others from this machine. */
async function libraryEntries(packages: string, programs: readonly string[]): Promise<Entry[]> {
  const folders = readdirSync(packages).map(name =>
    join(packages, name, 'usr/lib/x86_64-linux-gnu'),
  )
  const env = { LD_LIBRARY_PATH: folders.join(':') }
  const found = new Map<string, string>()
  for (const program of programs) {
    for (const [name, path] of parseLdd((await execute('ldd', [program], { env })).toString())) {
      if (path === undefined) {
        const message = `${program} needs the library ${name}, which this machine does not have`
        throw new TestbedError('ERR_TESTBED_IMAGE', message)
      }
      found.set(name, path)
    }
  }
  const entries = [...found].map(([name, path]) =>
    copy(`${libraries}/${name}`, executable, realpathSync(path)),
  )
  return [...entries, copy(loader, executable, realpathSync(`/${loader}`))]
}

/** Reads `name => path (address)` and `name => not found`; lines without an arrow say no path. */
export function parseLdd(text: string): [name: string, path: string | undefined][] {
  const lines = text.matchAll(/^\s*(\S+) => (?:(\/.+) \(0x\w+\)|not found)$/gm)
  return [...lines].map(([, name = '', path]) => [basename(name), path])
}

async function moduleEntries(root: string): Promise<Entry[]> {
  const entries = new Map<string, Entry>()
  for (const [set, wanted] of Object.entries(moduleSets)) {
    const modules = await collectModules(root, wanted)
    for (const { name, content } of modules) {
      const path = `lib/modules/${name}.ko`
      entries.set(path, { path, kind: 'file', mode: readable, content })
    }
    const list = modules.map(({ name }) => `${name}\n`).join('')
    const path = `lib/modules/${set}.list`
    entries.set(path, file(path, readable, list))
  }
  return [...entries.values()]
}

/** The folder with `kernel/` and `modules.builtin`; newer packages have it below /usr. */
function kernelModules({ packages, kernel }: RootSources): string {
  for (const folder of ['lib/modules', 'usr/lib/modules']) {
    const root = join(packages, kernel, folder)
    try {
      const [version] = readdirSync(root)
      if (version !== undefined) return join(root, version)
    } catch {
      // The next place, then.
    }
  }
  throw new TestbedError('ERR_TESTBED_IMAGE', `the package ${kernel} holds no modules`)
}

function scripts(): Entry[] {
  const places: Record<string, string> = {
    init: 'init',
    dom0: 'testbed/dom0',
    guests: 'testbed/guests',
    guest: 'testbed/guest',
    agent: 'testbed/agent',
    'zero-memory': 'testbed/zero-memory',
    domu: 'bin/domu',
    'new-guest': 'bin/new-guest',
    vif: 'etc/xen/scripts/vif-testbed',
  }
  return Object.entries(places).map(([name, path]) => ({
    path,
    kind: 'file',
    mode: executable,
    content: readFileSync(join(scriptsFolder, name)),
  }))
}

/** All folders, each once and after the one that it is in: the kernel makes none by itself. */
function parents(entries: readonly Entry[]): Entry[] {
  const folders = new Set<string>()
  const add = (path: string): void => {
    if (path === '.') return
    add(dirname(path))
    folders.add(path)
  }
  for (const { path, kind } of entries) add(kind === 'folder' ? path : dirname(path))
  return [...folders].map(path => ({ path, kind: 'folder' }))
}

function file(path: string, mode: number, text: string): Entry {
  return { path, kind: 'file', mode, content: Buffer.from(text) }
}

function copy(path: string, mode: number, source: string): Entry {
  return { path, kind: 'file', mode, source }
}
