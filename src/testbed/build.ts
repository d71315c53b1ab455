import { existsSync, readFileSync } from 'node:fs'
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { writeArchive } from './archive.ts'
import { TestbedError } from './failure.ts'
import {
  type Image,
  imageName,
  listImages,
  type Manifest,
  manifestPath,
  type Recipe,
  readImage,
  recipeFor,
} from './image.ts'
import { unpackKernel } from './kernel-image.ts'
import { withLock } from './lock.ts'
import { defaultKernel, guestPackages, xenVersion } from './package-names.ts'
import {
  fetchPackages,
  type PackageFile,
  resolveKernel,
  resolvePackages,
  unpackPackage,
} from './packages.ts'
import { cacheFolder } from './places.ts'
import { rootEntries } from './root-files.ts'
import { buildTools, requireTools } from './tools.ts'

export interface BuildOptions {
  /** Debian package of the kernel for dom0 and the guests. */
  kernel?: string
  /** The node binary for the domains; this process's own when left out. */
  node?: string
  /** Is told what goes on, a sentence at a time. */
  onStep?: (text: string) => void
}

const hour = 60 * 60 * 1000
const week = 7 * 24 * hour

/**
 * Brings the image for this kernel and this node up to date and gives it. Cheap when nothing
 * changed. Others may build or run at the same time: an image appears whole, under a name of its
 * own, and stays for an hour after its last use when there is a newer one, else for a week.
 */
export async function build(options: BuildOptions = {}): Promise<Image> {
  requireTools('Building the test bed', buildTools)
  if (process.arch !== 'x64') {
    const message = `the test bed is made of amd64 packages; this node is for ${process.arch}`
    throw new TestbedError('ERR_TESTBED_IMAGE', message)
  }
  const cache = cacheFolder()
  const { onStep = () => undefined } = options
  const node = options.node ?? process.execPath
  const recipe = await recipeFor(options.kernel ?? defaultKernel, node)
  return await withLock(join(cache, 'lock'), async () => {
    const debs = join(cache, 'debs')
    const kernel = await resolveKernel(recipe.kernel)
    const files = await resolvePackages([kernel, ...guestPackages], debs)
    const packages = files.map(({ file }) => file)
    const folder = join(cache, 'images', imageName(recipe, packages))
    const there = await readImage(folder)
    if (there !== undefined) return there
    onStep(`fetching ${kernel}, Xen ${xenVersion} and its tools`)
    await fetchPackages(files, debs)
    await mkdir(join(cache, 'images'), { recursive: true })
    const work = await mkdtemp(join(cache, 'images', '.unfinished-'))
    try {
      onStep('unpacking and packing')
      await assemble(work, debs, files, kernel, await realpath(node))
      const manifest: Manifest = { recipe, packages, built: new Date().toISOString() }
      await writeFile(manifestPath(work), `${JSON.stringify(manifest, null, 2)}\n`)
      await chmod(work, 0o755) // temporary folders are for their owner only
      await rename(work, folder)
      await prune(join(cache, 'images'), recipe, folder)
      return { folder, manifest }
    } finally {
      await rm(work, { recursive: true, force: true })
    }
  })
}

async function assemble(
  work: string,
  debs: string,
  files: readonly PackageFile[],
  kernel: string,
  node: string,
): Promise<void> {
  const packages = join(work, 'packages')
  for (const { name, file } of files) {
    await unpackPackage(join(debs, file), join(packages, name))
  }
  const hypervisor = join(packages, `xen-hypervisor-${xenVersion}-amd64`, 'boot')
  // Unpacked, Xen is a 32-bit ELF file with a multiboot header, which QEMU starts by itself.
  const xen = gunzipSync(readFileSync(join(hypervisor, `xen-${xenVersion}-amd64.gz`)))
  await writeFile(join(work, 'xen.elf'), xen)
  const image = readFileSync(await kernelFile(join(packages, kernel, 'boot'), kernel))
  await writeFile(join(work, 'vmlinux'), await unpackKernel(image))
  await writeArchive(join(work, 'root.cpio'), await rootEntries({ packages, kernel, node }))
  await rm(packages, { recursive: true })
}

async function kernelFile(boot: string, kernel: string): Promise<string> {
  const files = existsSync(boot) ? await readdir(boot) : []
  const config = files.find(name => name.startsWith('config-'))
  const image = files.find(name => name.startsWith('vmlinuz-'))
  if (config === undefined || image === undefined) {
    throw new TestbedError('ERR_TESTBED_IMAGE', `the package ${kernel} holds no kernel`)
  }
  // Debian's cloud kernels lack it; the machine would stop without a word.
  if (!/^CONFIG_XEN_DOM0=y$/m.test(readFileSync(join(boot, config), 'utf8'))) {
    const message = `the kernel ${kernel} is built without CONFIG_XEN_DOM0: it cannot be dom0`
    throw new TestbedError('ERR_TESTBED_IMAGE', message)
  }
  return join(boot, image)
}

/** Removes what is out of use. An image that a machine has opened may go; one about to may not. */
async function prune(images: string, recipe: Recipe, keep: string): Promise<void> {
  for (const { folder, manifest } of await listImages(images)) {
    if (folder === keep) continue
    const { scripts, kernel, node } = manifest.recipe
    // One for another node binary is as good as it was.
    const current = scripts === recipe.scripts && (kernel !== recipe.kernel || node !== recipe.node)
    const { mtimeMs } = await stat(manifestPath(folder))
    if (Date.now() - mtimeMs > (current ? week : hour)) await rm(folder, { recursive: true })
  }
  for (const name of await readdir(images)) {
    // Left by a build that was killed: the lock is ours, so nobody works there now.
    if (name.startsWith('.unfinished-')) await rm(join(images, name), { recursive: true })
  }
}
