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
import {
  MessageBuffer,
  type ReceivedMessage,
  receiveBuffer,
  sendBuffer,
} from '../native/messages.ts'
import { BODY_MAX, INLINE_BODY_MAX } from './limits.ts'
import { BodyReader, type BodyWriter, FLAG_BODY_IN_FD, HEADER_SIZE } from './wire.ts'

/** A message: its header, its body, to be read before the next one comes, and its descriptors. */
export interface Received {
  readonly op: number
  readonly flags: number
  readonly serial: number
  readonly result: number
  readonly body: BodyReader
  readonly fds: readonly number[]
  /** Descriptors came that this process has no room for: it is at its limit of them. */
  readonly fdsLost: boolean
}

const NO_FDS: readonly number[] = Object.freeze([])

/** Where a thread or a connection receives its messages. */
export function receiveRoom(): MessageBuffer {
  return new MessageBuffer(HEADER_SIZE + INLINE_BODY_MAX)
}

/** Sends a message, its header written; a large body goes ahead in a memfd. 0 or -errno. */
export function sendFramed(
  socket: number,
  message: BodyWriter,
  fds: readonly number[] = NO_FDS,
  socketFlags = 0,
): number {
  const { buffer, length } = message
  if (length <= INLINE_BODY_MAX) {
    return Math.min(0, sendBuffer(socket, buffer, HEADER_SIZE + length, fds, socketFlags))
  }
  const { words } = buffer
  words[0] = (words[0] as number) | (FLAG_BODY_IN_FD << 16)
  const carrier = carry(buffer.bytes.subarray(HEADER_SIZE, HEADER_SIZE + length))
  if (carrier < 0) return carrier
  const sent = sendBuffer(socket, buffer, HEADER_SIZE, [carrier, ...fds], socketFlags)
  close(carrier)
  return Math.min(0, sent)
}

/**
 * Receives one message: undefined at the end of the connection, -errno (-EAGAIN when none waits).
 * Throws a ProtocolError for one that is no message of ours; its descriptors are closed by then.
 */
export function receiveFramed(
  socket: number,
  room: MessageBuffer,
  socketFlags = 0,
): Received | undefined | number {
  const received = receiveBuffer(socket, room, socketFlags)
  if (typeof received === 'number') return received
  const { length, fds } = received
  if (length === 0 && fds.length === 0) return undefined
  try {
    return unframe(room, received)
  } catch (error) {
    for (const fd of fds) close(fd)
    throw error
  }
}

function unframe(room: MessageBuffer, received: ReceivedMessage): Received {
  const { length, truncated, fdsTruncated, fds } = received
  if (truncated || length < HEADER_SIZE) {
    throw new ProtocolError('ERR_HOST_PROTOCOL', `message of ${length} bytes cut or too short`)
  }
  const { words } = room
  const op = (words[0] as number) & 0xffff
  const flags = (words[0] as number) >>> 16
  const serial = words[1] as number
  const result = (words[2] as number) | 0
  const bodyLength = words[3] as number
  if ((flags & FLAG_BODY_IN_FD) === 0) {
    if (bodyLength !== length - HEADER_SIZE) {
      throw new ProtocolError(
        'ERR_HOST_PROTOCOL',
        `message says ${bodyLength} bytes of body and has ${length - HEADER_SIZE}`,
      )
    }
    const body = new BodyReader(room, HEADER_SIZE, length)
    return { op, flags, serial, result, body, fds, fdsLost: fdsTruncated }
  }
  const carried = unload(fds[0], bodyLength)
  if (fds[0] !== undefined) close(fds[0])
  const body = new BodyReader(carried, 0, bodyLength)
  return { op, flags, serial, result, body, fds: fds.slice(1), fdsLost: fdsTruncated }
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
function unload(fd: number | undefined, length: number): MessageBuffer {
  const size = fd === undefined || getSeals(fd) < 0 ? -ERRNO.EINVAL : sizeOf(fd)
  if (fd === undefined || size !== length || length > BODY_MAX) {
    throw new ProtocolError(
      'ERR_HOST_PROTOCOL',
      `body of ${length} bytes in a descriptor of ${size}, at most ${BODY_MAX}`,
    )
  }
  const body = new MessageBuffer(length)
  if (pread(fd, body.bytes, 0) !== length) {
    throw new ProtocolError('ERR_HOST_PROTOCOL', `body of ${length} bytes could not be read`)
  }
  return body
}
