import { DEVICE_NAMES, type DeviceName } from './devices.ts'

/** `'xen-gntalloc'`, `'xen-gntdev'` or `'xen-evtchn'`. */
export type ModuleName = `xen-${DeviceName}`

/** The module of the kernel that each device file comes and goes with (drivers/xen/Makefile). */
export const MODULES: Readonly<Record<DeviceName, ModuleName>> = {
  gntalloc: 'xen-gntalloc',
  gntdev: 'xen-gntdev',
  evtchn: 'xen-evtchn',
}

export const MODULE_NAMES: readonly ModuleName[] = DEVICE_NAMES.map(device => MODULES[device])

/**
 * The module that somebody named, with `-` or with `_`, which are one to Linux. Throws a RangeError
 * when there is none of that name.
 */
export function moduleNamed(name: unknown): ModuleName {
  const plain = typeof name === 'string' ? name.replaceAll('_', '-') : undefined
  const known = MODULE_NAMES.find(module => module === plain)
  if (known) return known
  throw new RangeError(`no module ${JSON.stringify(name)}; there are ${MODULE_NAMES.join(', ')}`)
}
