import { lstatSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { isRealDomid } from '../abi/domid.ts'
import { ERRNO } from '../abi/errno.ts'
import { XenError } from '../base/errors.ts'
import { SOCKET_PATH_MAX } from './limits.ts'

/**
 * A host lives in a directory whose permissions say who may be its domains:
 *
 *     control        socket of its orders: status, stop, new domains, limits
 *     domain-N       socket of domain N: whoever may open it is a process of that domain
 *     lock           held while a host runs here
 *     host.json      pid and version of the host that holds the lock
 *     host.log       what a daemon had to say
 */
export function hostDirectory(
  explicit: string | undefined,
  env: Readonly<Record<string, string | undefined>> = process.env,
  uid: number = process.getuid?.() ?? 0,
): string {
  if (explicit) return explicit
  const named = env['INTERDOM_HOST']
  if (named) return named
  const runtime = env['XDG_RUNTIME_DIR']
  if (runtime && isPrivate(runtime, uid)) return join(runtime, 'interdom')
  return uid === 0 ? '/run/interdom' : `/tmp/interdom-${uid}`
}

export function controlPath(directory: string): string {
  return checkedPath(join(directory, 'control'))
}

export function domainPath(directory: string, domid: number): string {
  if (!isRealDomid(domid)) {
    throw new RangeError(`domid ${domid} is no domain's: 0 to ${0x7fef} are`)
  }
  return checkedPath(join(directory, `domain-${domid}`))
}

export function lockPath(directory: string): string {
  return join(directory, 'lock')
}

export function recordPath(directory: string): string {
  return join(directory, 'host.json')
}

export function logPath(directory: string): string {
  return join(directory, 'host.log')
}

/** Makes the directory, or checks that the one there is ours and nobody else may enter it. */
export function prepareDirectory(directory: string): void {
  checkedPath(join(directory, `domain-${0x7fef}`))
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const uid = process.getuid?.() ?? 0
  // 0711 is left of a host that gave a domain to another user: names cannot be listed there.
  if (isPrivate(directory, uid, 0o066)) return
  const stat = lstatSync(directory)
  throw new XenError(-ERRNO.EACCES, 'host directory', {
    path: directory,
    fix:
      `it must be a directory of uid ${uid} with mode 0700 and is one of uid ${stat.uid} ` +
      `with mode 0${(stat.mode & 0o7777).toString(8)}; choose another with --dir`,
  })
}

function isPrivate(path: string, uid: number, forbidden = 0o077): boolean {
  try {
    const stat = lstatSync(path)
    return stat.isDirectory() && stat.uid === uid && (stat.mode & forbidden) === 0
  } catch {
    return false
  }
}

/** A socket's path must fit sockaddr_un; a longer one is cut in silence by nobody. */
function checkedPath(path: string): string {
  const bytes = Buffer.byteLength(path)
  if (bytes > SOCKET_PATH_MAX) {
    throw new RangeError(
      `socket path of ${bytes} bytes, at most ${SOCKET_PATH_MAX}: ${path}; ` +
        'choose a shorter directory with --dir',
    )
  }
  return path
}
