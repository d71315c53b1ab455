import { ERRNO } from '../abi/errno.ts'
import { ProtocolError, XenError } from '../base/errors.ts'
import { O_RDWR } from '../native/files.ts'
import { XENSTORE_PAYLOAD_MAX, XENSTORE_REPLY_MS } from './limits.ts'
import { POLLIN, type System } from './system.ts'

const XENBUS = '/dev/xen/xenbus'

/** Source: Xen public/io/xs_wire.h. */
const XS_READ = 2
const XS_ERROR = 16
const HEADER_SIZE = 16

/**
 * A domain's own id: one XS_READ of the relative path `domid`, which xenstored takes as one below
 * the asking domain's directory. Request and reply have one header:
 *
 *      0          4          8          12         16
 *     +----------+----------+----------+----------+---------- …
 *     | u32 type | u32 req  | u32 tx   | u32 len  | payload
 *     +----------+----------+----------+----------+---------- …
 *
 * Throws a XenError when there is no xenstore, ProtocolError when it says something else.
 */
export function readOwnDomid(system: System): number {
  const fd = system.open(XENBUS, O_RDWR)
  if (fd < 0) throw new XenError(fd, `open ${XENBUS}`, { fix: fixOf(fd) })
  try {
    return Number(ask(system, fd))
  } finally {
    system.close(fd)
  }
}

function ask(system: System, fd: number): string {
  const path = new TextEncoder().encode('domid\0')
  const request = new Uint8Array(HEADER_SIZE + path.byteLength)
  new Uint32Array(request.buffer, 0, 4).set([XS_READ, 0, 0, path.byteLength])
  request.set(path, HEADER_SIZE)
  const written = system.write(fd, request)
  if (written < 0) throw new XenError(written, `write ${XENBUS}`, { fix: fixOf(written) })
  const header = new Uint32Array(receive(system, fd, HEADER_SIZE).buffer)
  const [type, , , length] = header as unknown as [number, number, number, number]
  if (length > XENSTORE_PAYLOAD_MAX)
    throw new ProtocolError('ERR_XS_PACKET', `xenstored sent ${length} bytes`, { length })
  const payload = new TextDecoder().decode(receive(system, fd, length))
  if (type === XS_READ && /^\d{1,5}$/.test(payload)) return payload
  const what = type === XS_ERROR ? `the error ${payload}` : `type ${type}, '${payload}'`
  throw new ProtocolError('ERR_XS_PACKET', `reading our domid, xenstored answered ${what}`, {
    type,
    payload,
  })
}

/** Whole replies only, and not for ever: in dom0 nobody answers while no xenstored runs. */
function receive(system: System, fd: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; ) {
    const events = system.poll(fd, POLLIN, XENSTORE_REPLY_MS)
    const facts = { fix: 'start xenstored, or say which domain this is (domid)' }
    if (events <= 0) throw new XenError(events || -ERRNO.ETIMEDOUT, `read ${XENBUS}`, facts)
    const count = system.read(fd, bytes.subarray(at))
    if (count <= 0) throw new XenError(count || -ERRNO.EIO, `read ${XENBUS}`, facts)
    at += count
  }
  return bytes
}

function fixOf(errno: number): string {
  return errno === -ERRNO.EACCES
    ? 'run as root, or give this user the files in /dev/xen; or say which domain this is (domid)'
    : 'is this a Xen domain, and does its kernel have xenbus? Else say which domain this is (domid)'
}
