import { ProtocolError } from '../base/errors.ts'
import { close } from '../native/files.ts'
import * as sockets from '../native/sockets.ts'
import { MSG_DONTWAIT } from '../native/sockets.ts'
import type { Answer } from './answer.ts'
import { INLINE_BODY_MAX } from './limits.ts'
import { type Received, sendFramed } from './message-socket.ts'
import type { BodyWriter } from './wire.ts'

/**
 * Answers a request: 0, or -errno when the answer could not be sent. Its own descriptors are closed
 * either way.
 *
 * Descriptors count against the host's user for as long as nobody has received them, and at
 * RLIMIT_NOFILE of them no host of that user could hand over any more (ETOOMANYREFS). A client asks
 * one thing at a time: for one that leaves answers lying there are none.
 */
export function sendReply(
  client: number,
  { op, serial }: Received,
  { result, fds = [], ownedFds = [] }: Answer,
  body: BodyWriter,
): number {
  const all = ownedFds.length === 0 ? fds : [...ownedFds, ...fds]
  try {
    if (all.length > 0 || body.length > INLINE_BODY_MAX) {
      const unread = sockets.unreceived(client)
      if (unread !== 0) {
        const what = `descriptors asked for, with ${unread} bytes of answers unread`
        throw new ProtocolError('ERR_HOST_PROTOCOL', what)
      }
    }
    return sendFramed(client, body.head(op, 0, serial, result), all, MSG_DONTWAIT)
  } finally {
    for (const fd of ownedFds) close(fd)
  }
}
