import { ERRNO } from '../abi/errno.ts'
import { XenError } from '../base/errors.ts'
import type { Order, OrderAnswer } from './administration.ts'
import { CallSocket } from './call-socket.ts'
import { controlPath } from './directory.ts'
import { OP } from './wire.ts'

/**
 * Gives an order to the host in a directory and answers what it said. Blocks for a round trip.
 * Throws a XenError: ENOENT or ECONNREFUSED without a host, EHOSTDOWN when it dies on the way,
 * EINVAL with the host's own sentence when it refuses.
 */
export function giveOrder(directory: string, order: Order): unknown {
  const socket = new CallSocket(controlPath(directory))
  try {
    socket.begin(OP.admin).text(JSON.stringify(order))
    const reply = socket.call()
    if (reply.result < 0) {
      throw new XenError(reply.result, `host ${order.order}`, socket.death ?? {})
    }
    const answer = JSON.parse(reply.body.text()) as OrderAnswer
    if ('ok' in answer) return answer.ok
    const { error, errno = ERRNO.EINVAL, facts = { fix: error } } = answer
    throw new XenError(-errno, `host ${order.order}`, facts)
  } finally {
    socket.close()
  }
}
