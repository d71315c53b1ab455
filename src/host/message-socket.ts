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
import {
  BodyReader,
  type BodyWriter,
  FLAG_BODY_IN_FD,
  HEADER_SIZE,
  type Message,
  readHeader,
  writeHeader,
} from './wire.ts'

/** A message with its body, to be read before the next one comes, and its descriptors. */
export interface Received {
  readonly header: Message
  readonly body: BodyReader
  readonly fds: readonly number[]
}

const NO_FDS: readonly number[] = Object.freeze([])

/** Where a thread or a connection receives its messages. */
export function receiveRoom(): MessageBuffer {
  return new MessageBuffer(HEADER_SIZE + INLINE_BODY_MAX)
}

/** Sends one message; a large body goes ahead in a memfd. Answers 0 or -errno. */
export function sendFramed(
  socket: number,
  header: Message,
  body: BodyWriter,
  fds: readonly number[] = NO_FDS,
  socketFlags = 0,
): number {
  const { buffer, length } = body
  header.length = length
  if (length <= INLINE_BODY_MAX) {
    writeHeader(buffer.bytes, header)
    return Math.min(0, sendBuffer(socket, buffer, HEADER_SIZE + length, fds, socketFlags))
  }
  header.flags |= FLAG_BODY_IN_FD
  writeHeader(buffer.bytes, header)
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
    return unframe(room.bytes, received)
  } catch (error) {
    for (const fd of fds) close(fd)
    throw error
  }
}

function unframe(bytes: Uint8Array, received: ReceivedMessage): Received {
  const { length, truncated, fdsTruncated, fds } = received
  if (truncated || fdsTruncated || length < HEADER_SIZE) {
    throw new ProtocolError('ERR_HOST_PROTOCOL', `message of ${length} bytes cut or too short`)
  }
  const header = readHeader(bytes)
  if ((header.flags & FLAG_BODY_IN_FD) === 0) {
    if (header.length !== length - HEADER_SIZE) {
      throw new ProtocolError(
        'ERR_HOST_PROTOCOL',
        `message says ${header.length} bytes of body and has ${length - HEADER_SIZE}`,
      )
    }
    return { header, body: new BodyReader(bytes, HEADER_SIZE, length), fds }
  }
  const body = unload(fds[0], header.length)
  if (fds[0] !== undefined) close(fds[0])
  return { header, body: new BodyReader(body), fds: fds.slice(1) }
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
