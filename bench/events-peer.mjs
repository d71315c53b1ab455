/** The other end of events-client.mjs: answers a notification with one, and a byte with a byte. */
import { writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { connect } from '../dist/index.js'

const [FIFO_IN, FIFO_OUT] = [4, 5]

const xen = await connect()
new Socket({ fd: FIFO_IN, writable: false }).on('data', () => writeSync(FIFO_OUT, 'y'))
process.on('message', async ({ port }) => {
  const bell = xen.evtchn.bindInterdomain({ domid: 1, port })
  const events = bell.events()
  await events.next()
  process.send('ready')
  for await (const _ of events) bell.notify()
})
