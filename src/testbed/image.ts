import { createHash } from 'node:crypto'
import { createReadStream, readdirSync, readFileSync } from 'node:fs'
import { readdir, readFile, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { TestbedError } from './failure.ts'
import { loader, scriptsFolder } from './places.ts'

/** What an image is made from, as far as it can be told without asking apt. */
export interface Recipe {
  /** Grows with each change of what the build makes of equal inputs. */
  format: 1
  /** The kernel package as it was asked for. */
  kernel: string
  /** Hash of the guests' scripts. */
  scripts: string
  /** Hash of the node binary. */
  node: string
  /** Hash of the loader of this machine's C library: the domains have that library. */
  loader: string
}

/** What lies beside an image. */
export interface Manifest {
  recipe: Recipe
  /** The packages' files, the kernel's first. */
  packages: string[]
  built: string
}

/** A folder with `xen.elf`, `vmlinux` and `root.cpio`. */
export interface Image {
  folder: string
  manifest: Manifest
}

const manifestFile = 'manifest.json'

export async function recipeFor(kernel: string, node: string): Promise<Recipe> {
  return {
    format: 1,
    kernel,
    scripts: scriptsHash(),
    node: await fileHash(node).catch((cause: unknown) => {
      const message = `the node binary for the domains cannot be read: ${node}`
      throw new TestbedError('ERR_TESTBED_IMAGE', message, { cause })
    }),
    // The build says what is wrong with a machine that has none.
    loader: await fileHash(`/${loader}`).catch(() => ''),
  }
}

/** The image's name: it differs whenever anything that goes in differs. */
export function imageName(recipe: Recipe, packages: readonly string[]): string {
  const { format, kernel, scripts, node, loader } = recipe
  const inputs = JSON.stringify([format, kernel, scripts, node, loader, packages])
  return `${kernel}-${createHash('sha256').update(inputs).digest('hex').slice(0, 16)}`
}

/** The newest image made by this recipe, from whatever versions of the packages. */
export async function findImage(images: string, recipe: Recipe): Promise<Image | undefined> {
  const found = (await listImages(images)).filter(({ manifest }) => matches(manifest, recipe))
  found.sort((a, b) => a.manifest.built.localeCompare(b.manifest.built))
  return found.at(-1)
}

/** All complete images; what has no manifest is none. */
export async function listImages(images: string): Promise<Image[]> {
  const names = await readdir(images).catch(() => [])
  const found = await Promise.all(names.map(async name => await readImage(join(images, name))))
  return found.filter(image => image !== undefined)
}

export async function readImage(folder: string): Promise<Image | undefined> {
  try {
    const text = await readFile(join(folder, manifestFile), 'utf8')
    return { folder, manifest: JSON.parse(text) as Manifest }
  } catch {
    return undefined
  }
}

export function manifestPath(folder: string): string {
  return join(folder, manifestFile)
}

function matches({ recipe }: Manifest, wanted: Recipe): boolean {
  return (
    recipe.format === wanted.format &&
    recipe.kernel === wanted.kernel &&
    recipe.scripts === wanted.scripts &&
    recipe.node === wanted.node &&
    recipe.loader === wanted.loader
  )
}

function scriptsHash(): string {
  const hash = createHash('sha256')
  for (const name of readdirSync(scriptsFolder).sort()) {
    if (name.includes('.')) continue // the README is no script
    hash.update(name).update(readFileSync(join(scriptsFolder, name)))
  }
  return hash.digest('hex')
}

async function fileHash(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(await realpath(path))) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
