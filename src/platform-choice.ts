import { DOMID_FIRST_RESERVED } from './abi/domid.ts'
import { ERRNO } from './abi/errno.ts'
import { described, integerBetween } from './base/arguments.ts'
import { XenError } from './base/errors.ts'
import type { Platform } from './platform.ts'

/** The platforms that have a name: `'xen'` and `'linux'` are the real devices of a Xen domain. */
export const PLATFORM_NAMES = ['xen', 'linux', 'host'] as const
/** One of {@link PLATFORM_NAMES}. */
export type PlatformName = (typeof PLATFORM_NAMES)[number]

/** Which platform, and which domain on it. */
export interface ConnectOptions {
  /** Left out: `INTERDOM_PLATFORM`, else real Xen where we are in a Xen domain, else a host. */
  readonly platform?: PlatformName | Platform
  /**
   * Which domain to be, on a host; left out: `INTERDOM_DOMID`. On real Xen, which domain this is,
   * so that the xenstore need not be asked.
   */
  readonly domid?: number
  /** Directory of the host; left out: `INTERDOM_HOST`, else the usual one. */
  readonly host?: string
  /** Start a host there if none runs. It leaves when idle. */
  readonly start?: boolean
}

/** What the choice depends on besides the options. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  /** What /sys/hypervisor/type says, trimmed; undefined without it. */
  readonly hypervisorType: string | undefined
}

export type PlatformChoice =
  | { readonly kind: 'given'; readonly platform: Platform }
  | { readonly kind: 'linux'; readonly domid: number | undefined }
  | {
      readonly kind: 'host'
      readonly domid: number
      readonly directory: string | undefined
      readonly start: boolean
    }

/**
 * Which platform a program means. Never a simulator in silence: without Xen and without a named
 * host it is an error that names both ways.
 */
export function choosePlatform(
  options: ConnectOptions,
  { env, hypervisorType }: Surroundings,
): PlatformChoice {
  const wanted = options.platform
  if (typeof wanted === 'object' && wanted !== null) return given(wanted, options)
  const name = platformName(wanted, env)
  const domid = domidOf(options, env)
  const { INTERDOM_HOST: namedHost } = env
  const directory = options.host ?? (namedHost || undefined)
  if (name === 'xen' || name === 'linux') return { kind: 'linux', domid }
  if (name === undefined && options.host === undefined) {
    if (hypervisorType === 'xen') return { kind: 'linux', domid }
    if (directory === undefined && !options.start) throw noPlatform(hypervisorType)
  }
  if (domid === undefined) {
    throw new TypeError(
      'a host has many domains: say which one to be, with --domid 1 on the command line, ' +
        'connect({ domid: 1 }) or INTERDOM_DOMID=1',
    )
  }
  return { kind: 'host', domid, directory, start: options.start ?? false }
}

function given(platform: Platform, { domid }: ConnectOptions): PlatformChoice {
  if (domid !== undefined && domid !== platform.domid) {
    throw new RangeError(`domid ${domid} was wanted, but the platform is domain ${platform.domid}`)
  }
  return { kind: 'given', platform }
}

function platformName(wanted: unknown, env: Surroundings['env']): PlatformName | undefined {
  const from = wanted === undefined ? 'INTERDOM_PLATFORM' : 'platform'
  const { INTERDOM_PLATFORM: named } = env
  const name = wanted ?? (named || undefined)
  if (name === undefined) return undefined
  if ((PLATFORM_NAMES as readonly unknown[]).includes(name)) return name as PlatformName
  const got = typeof name === 'string' ? `'${name}'` : described(name)
  throw new TypeError(`${from} must be ${PLATFORM_NAMES.join(', ')} or a Platform, got ${got}`)
}

function domidOf({ domid }: ConnectOptions, env: Surroundings['env']): number | undefined {
  if (domid !== undefined) return integerBetween('domid', domid, 0, DOMID_FIRST_RESERVED - 1)
  const { INTERDOM_DOMID: text } = env
  if (!text) return undefined
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  return integerBetween('INTERDOM_DOMID', value, 0, DOMID_FIRST_RESERVED - 1)
}

function noPlatform(hypervisorType: string | undefined): XenError {
  const seen = hypervisorType === undefined ? 'is missing' : `says ${hypervisorType}`
  return new XenError(-ERRNO.ENODEV, 'connect', {
    fix:
      `this is no Xen domain (/sys/hypervisor/type ${seen}) and no host was named: run in a ` +
      'domain of Xen, or start a host with "interdom host start" and name it in INTERDOM_HOST, ' +
      "or connect({ platform: 'host', domid: 1, start: true })",
  })
}
