import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { collectModules, dependenciesOf, moduleName } from '../../src/testbed/modules.ts'

function moduleFile(depends: string): Buffer {
  return Buffer.from(`\x7fELF\0license=GPL\0depends=${depends}\0retpoline=Y\0`, 'latin1')
}

describe('collecting modules', () => {
  let root: string

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'interdom-modules-'))
    mkdirSync(join(root, 'kernel/fs/9p'), { recursive: true })
    writeFileSync(join(root, 'kernel/fs/9p/9p.ko'), moduleFile('9pnet,netfs'))
    writeFileSync(join(root, 'kernel/9pnet.ko'), moduleFile(''))
    writeFileSync(join(root, 'kernel/netfs.ko'), moduleFile('fs-cache'))
    writeFileSync(join(root, 'kernel/fs-cache.ko'), moduleFile(''))
    writeFileSync(join(root, 'modules.builtin'), 'kernel/drivers/virtio/virtio.ko\n')
  })
  afterEach(() => rmSync(root, { recursive: true }))

  async function names(wanted: string[]): Promise<string[]> {
    return (await collectModules(root, wanted)).map(({ name }) => name)
  }

  test('puts each after what it depends on', async () => {
    expect(await names(['9p'])).toEqual(['9pnet', 'fs_cache', 'netfs', '9p'])
  })

  test('names each once', async () => {
    expect(await names(['netfs', '9p', '9pnet'])).toEqual(['fs_cache', 'netfs', '9pnet', '9p'])
  })

  test('leaves out what is built into the kernel', async () => {
    expect(await names(['virtio', '9pnet'])).toEqual(['9pnet'])
  })

  test('refuses a module that is nowhere', async () => {
    await expect(names(['xen_gntdev'])).rejects.toThrow('no module xen_gntdev')
  })
})

test('dependencies are read from the module', () => {
  expect(dependenciesOf(moduleFile('xen-a,b'))).toEqual(['xen-a', 'b'])
  expect(dependenciesOf(moduleFile(''))).toEqual([])
  expect(dependenciesOf(Buffer.from('nothing'))).toEqual([])
})

test('a module has one name, whatever its file has', () => {
  expect(moduleName('kernel/drivers/xen/xen-gntdev.ko.xz')).toBe('xen_gntdev')
  expect(moduleName('xen_gntdev')).toBe('xen_gntdev')
})
