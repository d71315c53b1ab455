import { receiveMessage, sendMessage } from '../dist/native/messages.js'
import * as sockets from '../dist/native/sockets.js'

/** Blocking round trips to echo-server.mjs: the least that a call of a host can cost. */
export function bareTrips(path) {
  const socket = sockets.socket(sockets.SOCK_SEQPACKET)
  sockets.setTimeouts(socket, 10_000)
  if (sockets.connect(socket, path) < 0) throw new Error(`nobody listens at ${path}`)
  const bytes = new Uint8Array(8)
  return count => {
    for (let i = 0; i < count; i++) {
      sendMessage(socket, bytes)
      receiveMessage(socket, bytes)
    }
  }
}
