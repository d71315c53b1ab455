import { ioctlName } from './abi/devices.ts'
import { errnoName } from './abi/errno.ts'
import { ClosedError, type ErrorFacts, XenError } from './base/errors.ts'
import {
  type Address,
  type Device,
  type DeviceName,
  isDevice,
  type MmapOptions,
  type OpenOptions,
  type Platform,
} from './platform.ts'
import { fixFor } from './refusals.ts'

/**
 * Calls over the seam for the typed API: where the seam answers an errno, these throw a XenError
 * that names the call and carries what the platform can explain, or else what could be the cause.
 */
export function callDevice(
  device: Device,
  number: number,
  argument?: Uint8Array,
  facts?: ErrorFacts,
): number {
  const result = device.ioctl(number, argument)
  if (result < 0) throw refusalOf(device, result, ioctlSyscall(device.name, number), facts)
  return result
}

export function mmapDevice(device: Device, options: MmapOptions, facts?: ErrorFacts): Address {
  const result = device.mmap(options)
  if (result < 0) throw refusalOf(device, result, `mmap ${device.name}`, facts)
  return result
}

export function openDevice(platform: Platform, name: DeviceName, options: OpenOptions): Device {
  const answer = platform.open(name, options)
  if (isDevice(answer)) return answer
  throw refusalOf(platform, answer, `open ${name}`, { path: `/dev/xen/${name}` })
}

/**
 * Runs one step of a release. Nothing is left to release when the device was closed under us or
 * the machine is gone, so neither is a failure of closing.
 */
export function releaseStep(step: () => number, syscall: string): XenError | undefined {
  try {
    const result = step()
    return result < 0 ? unlessGone(new XenError(result, syscall)) : undefined
  } catch (error) {
    if (error instanceof ClosedError) return undefined
    if (error instanceof XenError) return unlessGone(error)
    throw error
  }
}

function unlessGone(failure: XenError): XenError | undefined {
  return failure.code === 'EHOSTDOWN' ? undefined : failure
}

/** `'ioctl GNTDEV_MAP_GRANT_REF'`, as it stands in {@link XenError.syscall}. */
export function ioctlSyscall(device: DeviceName, number: number): string {
  return `ioctl ${ioctlName(device, number)}`
}

/** What refused, asked at once: a later call of the same device overwrites its explanation. */
function refusalOf(
  source: { explain?(): ErrorFacts | undefined },
  result: number,
  syscall: string,
  facts: ErrorFacts = {},
): XenError {
  const explained = source.explain?.()
  const all = { ...facts, ...explained }
  const fix = all.fix ?? fixFor(syscall, errnoName(result))
  return new XenError(result, syscall, fix === undefined ? all : { ...all, fix })
}
