import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TestbedError } from './failure.ts'
import { xenVersion } from './package-names.ts'
import { execute } from './process.ts'

/** A package's file: its name holds the version, so it stands for the version too. */
export interface PackageFile {
  name: string
  file: string
}

/** `linux-image-amd64` is a name for the newest kernel and holds none: this is the one it means. */
export async function resolveKernel(name: string): Promise<string> {
  if (/^linux-image-\d/.test(name)) return name
  const depends = await apt('apt-cache', ['depends', name])
  return /^\s*Depends: (linux-image-\d\S*)/m.exec(depends)?.[1] ?? name
}

/**
 * The files of these packages in the versions that apt would install now. Without a word from apt
 * (no package lists, or a version that was withdrawn) the newest ones fetched before are taken.
 */
export async function resolvePackages(
  names: readonly string[],
  folder: string,
): Promise<PackageFile[]> {
  // apt-get says nothing of a file that lies in the current folder already: hence an empty one.
  const empty = await mkdtemp(join(tmpdir(), 'interdom-apt-'))
  try {
    const files = parseUris(await apt('apt-get', ['download', '--print-uris', ...names], empty))
    // apt has an order of its own.
    return names.flatMap(name => files.filter(file => file.name === name))
  } catch (error) {
    const files = await newestFiles(names, folder)
    if (files === undefined) throw error
    return files
  } finally {
    await rm(empty, { recursive: true })
  }
}

/** Reads lines of the form `'address' name_version_arch.deb size SHA256:hash`. */
export function parseUris(text: string): PackageFile[] {
  return [...text.matchAll(/^'[^']*' (\S+\.deb) /gm)].map(([, file = '']) => ({
    name: packageName(file),
    file,
  }))
}

/** Downloads what is not there yet; apt checks the hashes. */
export async function fetchPackages(files: readonly PackageFile[], folder: string): Promise<void> {
  const missing = files.filter(({ file }) => !existsSync(join(folder, file)))
  if (missing.length === 0) return
  await mkdir(folder, { recursive: true })
  const incoming = await mkdtemp(join(folder, 'incoming-'))
  try {
    const names = missing.map(({ name }) => name)
    await apt('apt-get', ['download', ...names], incoming)
    for (const file of await readdir(incoming)) {
      await rename(join(incoming, file), join(folder, file))
    }
  } finally {
    await rm(incoming, { recursive: true })
  }
}

/** Unpacks without installing: no script of the package runs. */
export async function unpackPackage(file: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  await execute('dpkg-deb', ['-x', file, folder])
}

async function apt(tool: string, args: readonly string[], cwd?: string): Promise<string> {
  try {
    return (await execute(tool, args, cwd === undefined ? {} : { cwd })).toString()
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause)
    const message =
      `${said}\nThe test bed takes Xen ${xenVersion} and Linux from Debian 12's packages: run ` +
      `apt-get update, and see that the sources have bookworm and its security updates. ` +
      `Another kernel package may be named with --kernel.`
    throw new TestbedError('ERR_TESTBED_PACKAGES', message, { cause })
  }
}

async function newestFiles(
  names: readonly string[],
  folder: string,
): Promise<PackageFile[] | undefined> {
  const there = existsSync(folder) ? await readdir(folder) : []
  const dated = await Promise.all(
    there.map(async file => ({ file, time: (await stat(join(folder, file))).mtimeMs })),
  )
  dated.sort((a, b) => b.time - a.time)
  const files: PackageFile[] = []
  for (const name of names) {
    const newest = dated.find(({ file }) => file.endsWith('.deb') && packageName(file) === name)
    if (newest === undefined) return undefined
    files.push({ name, file: newest.file })
  }
  return files
}

function packageName(file: string): string {
  return file.slice(0, file.indexOf('_'))
}
