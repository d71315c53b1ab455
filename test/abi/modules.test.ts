import { expect, test } from 'vitest'
import { MODULE_NAMES, moduleNamed } from '../../src/abi/modules.ts'

test('a module is named with - or with _, as Linux takes it', () => {
  expect(MODULE_NAMES).toEqual(['xen-gntalloc', 'xen-gntdev', 'xen-evtchn'])
  for (const name of MODULE_NAMES) {
    expect([moduleNamed(name), moduleNamed(name.replace('-', '_'))]).toEqual([name, name])
  }
})

test('what is no name of a module is told with those that there are', () => {
  for (const name of [
    'gntalloc',
    'xen-gntalloc.ko',
    'XEN-GNTDEV',
    '',
    undefined,
    7,
    ['xen-gntdev'],
  ]) {
    expect(() => moduleNamed(name)).toThrow(
      new RangeError(
        `no module ${JSON.stringify(name)}; there are xen-gntalloc, xen-gntdev, xen-evtchn`,
      ),
    )
  }
})
