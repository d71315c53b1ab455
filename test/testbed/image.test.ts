import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { findImage, imageName, manifestPath, type Recipe } from '../../src/testbed/image.ts'

const recipe: Recipe = {
  format: 1,
  kernel: 'linux-image-6.12',
  scripts: 'aa',
  node: 'bb',
  loader: 'cc',
}

describe("an image's name", () => {
  test('begins with the kernel', () => {
    expect(imageName(recipe, ['x_1.deb'])).toMatch(/^linux-image-6\.12-[0-9a-f]{16}$/)
  })

  test('is the same for the same inputs', () => {
    expect(imageName({ ...recipe }, ['x_1.deb'])).toBe(imageName(recipe, ['x_1.deb']))
  })

  test.each([
    ['the kernel', { ...recipe, kernel: 'linux-image-6.1' }, ['x_1.deb']],
    ['the scripts', { ...recipe, scripts: 'ab' }, ['x_1.deb']],
    ['the node binary', { ...recipe, node: 'ab' }, ['x_1.deb']],
    ['the C library', { ...recipe, loader: 'ab' }, ['x_1.deb']],
    ['a package', recipe, ['x_2.deb']],
  ])('changes with %s', (_, changed, packages) => {
    expect(imageName(changed, packages)).not.toBe(imageName(recipe, ['x_1.deb']))
  })
})

describe('finding an image', () => {
  let images: string
  beforeEach(() => {
    images = mkdtempSync(join(tmpdir(), 'interdom-images-'))
  })
  afterEach(() => rmSync(images, { recursive: true }))

  function add(name: string, from: Recipe, built: string): void {
    mkdirSync(join(images, name))
    const manifest = { recipe: from, packages: [], built }
    writeFileSync(manifestPath(join(images, name)), JSON.stringify(manifest))
  }

  test('takes the newest made by the recipe', async () => {
    add('a', recipe, '2026-01-02T00:00:00.000Z')
    add('b', recipe, '2026-01-03T00:00:00.000Z')
    add('c', recipe, '2026-01-01T00:00:00.000Z')
    add('d', { ...recipe, scripts: 'other' }, '2026-01-04T00:00:00.000Z')
    expect((await findImage(images, recipe))?.folder).toBe(join(images, 'b'))
  })

  test('passes over what is not whole', async () => {
    mkdirSync(join(images, 'no-manifest'))
    mkdirSync(join(images, 'half'))
    writeFileSync(manifestPath(join(images, 'half')), '{"recipe":')
    expect(await findImage(images, recipe)).toBeUndefined()
  })

  test('finds none where nothing was built', async () => {
    expect(await findImage(join(images, 'nowhere'), recipe)).toBeUndefined()
  })
})
