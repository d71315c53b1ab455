/** `echo-server PATH`: the least that a host does, one blocking loop that answers messages. */
import { receiveMessage, sendMessage } from '../dist/native/messages.js'
import * as sockets from '../dist/native/sockets.js'
import { EpollEvents, epoll, epollAdd, POLLIN } from '../dist/native/waiting.js'

const listener = sockets.socket(sockets.SOCK_SEQPACKET)
sockets.bind(listener, process.argv[2])
sockets.listen(listener, 8)
process.stdout.write('ready\n')
setImmediate(() => {
  const client = sockets.accept(listener)
  const poller = epoll()
  epollAdd(poller, client, POLLIN)
  const events = new EpollEvents(8)
  const bytes = new Uint8Array(8)
  for (;;) {
    events.wait(poller, -1)
    const message = receiveMessage(client, bytes)
    if (typeof message === 'number' || message.length === 0) break
    sendMessage(client, bytes)
  }
})
