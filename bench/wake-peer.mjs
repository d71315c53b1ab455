/** Answers each notification with one, and each byte with a byte. */
import { Socket } from 'node:net'
import { connect } from '../dist/index.js'

const xen = await connect()
const down = new Socket({ fd: 4 })
const up = new Socket({ fd: 5 })
down.on('data', () => up.write('y'))
process.on('message', async ({ port }) => {
  const bell = xen.evtchn.bindInterdomain({ domid: 1, port })
  const events = bell.events()[Symbol.asyncIterator]()
  await events.next()
  process.send('ready')
  for (;;) {
    await events.next()
    bell.notify()
  }
})
