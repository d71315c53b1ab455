import { ERRNO } from '../abi/errno.ts'
import { ProtocolError } from '../base/errors.ts'
import {
  addSeals,
  close,
  F_SEAL_GROW,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  ftruncate,
  getSeals,
  memfd,
  pread,
  pwrite,
  sizeOf,
} from '../native/files.ts'
import { receiveMessage, sendMessage } from '../native/messages.ts'
import { BODY_MAX, INLINE_BODY_MAX } from './limits.ts'
import { FLAG_BODY_IN_FD, HEADER_SIZE, type Message, readHeader, writeHeader } from './wire.ts'

/** A message with its body read into memory of our own, and the descriptors that came with it. */
export interface Received {
  readonly header: Message
  readonly body: Uint8Array
  readonly fds: readonly number[]
}

const incoming = new Uint8Array(HEADER_SIZE + INLINE_BODY_MAX)
const NO_BYTES = new Uint8Array(0)

/** Sends one message; a large body goes ahead in a memfd. Answers 0 or -errno. */
export function sendFramed(
  socket: number,
  header: Omit<Message, 'flags' | 'length'> & { readonly flags?: number },
  body: Uint8Array = NO_BYTES,
  fds: readonly number[] = [],
  socketFlags = 0,
): number {
  const inFd = body.byteLength > INLINE_BODY_MAX
  const bytes = new Uint8Array(HEADER_SIZE + (inFd ? 0 : body.byteLength))
  const flags = (header.flags ?? 0) | (inFd ? FLAG_BODY_IN_FD : 0)
  writeHeader(bytes, { ...header, flags, length: body.byteLength })
  if (!inFd) {
    bytes.set(body, HEADER_SIZE)
    return Math.min(0, sendMessage(socket, bytes, fds, socketFlags))
  }
  const carrier = carry(body)
  if (carrier < 0) return carrier
  const sent = sendMessage(socket, bytes, [carrier, ...fds], socketFlags)
  close(carrier)
  return Math.min(0, sent)
}

/**
 * Receives one message: undefined at the end of the connection, -errno (-EAGAIN when none waits).
 * Throws a ProtocolError for one that is no message of ours; its descriptors are closed by then.
 */
export function receiveFramed(socket: number, socketFlags = 0): Received | undefined | number {
  const received = receiveMessage(socket, incoming, socketFlags)
  if (typeof received === 'number') return received
  const { length, truncated, fdsTruncated } = received
  let fds = received.fds
  try {
    if (length === 0 && fds.length === 0) return undefined
    if (truncated || fdsTruncated || length < HEADER_SIZE) {
      throw new ProtocolError('ERR_HOST_PROTOCOL', `message of ${length} bytes cut or too short`)
    }
    const header = readHeader(incoming)
    if ((header.flags & FLAG_BODY_IN_FD) === 0) {
      if (header.length !== length - HEADER_SIZE) {
        throw new ProtocolError(
          'ERR_HOST_PROTOCOL',
          `message says ${header.length} bytes of body and has ${length - HEADER_SIZE}`,
        )
      }
      return { header, body: incoming.slice(HEADER_SIZE, length), fds }
    }
    const [carrier, ...others] = fds
    const body = unload(carrier, header.length)
    if (carrier !== undefined) close(carrier)
    fds = others
    return { header, body, fds }
  } catch (error) {
    for (const fd of fds) close(fd)
    throw error
  }
}

function carry(body: Uint8Array): number {
  const fd = memfd('interdom-body')
  if (fd < 0) return fd
  let result = ftruncate(fd, body.byteLength)
  if (result === 0) result = pwrite(fd, body, 0)
  if (result === body.byteLength) {
    result = addSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
  }
  if (result >= 0) return fd
  close(fd)
  return result
}

/** Reads a body out of a descriptor, never mapping it: what is not a memfd is refused. */
function unload(fd: number | undefined, length: number): Uint8Array {
  const size = fd === undefined || getSeals(fd) < 0 ? -ERRNO.EINVAL : sizeOf(fd)
  if (fd === undefined || size !== length || length > BODY_MAX) {
    throw new ProtocolError(
      'ERR_HOST_PROTOCOL',
      `body of ${length} bytes in a descriptor of ${size}, at most ${BODY_MAX}`,
    )
  }
  const body = new Uint8Array(length)
  if (pread(fd, body, 0) !== length) {
    throw new ProtocolError('ERR_HOST_PROTOCOL', `body of ${length} bytes could not be read`)
  }
  return body
}
