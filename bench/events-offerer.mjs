/** Offers domain 1 as many ports as it is asked for, and takes them back. */
import { connect } from '../dist/index.js'

const xen = await connect()
let offered = []
process.on('message', ({ offer }) => {
  for (const port of offered) port.close()
  offered = Array.from({ length: offer }, () => xen.evtchn.bindUnbound({ to: 1 }))
  process.send(offered.map(({ port }) => port))
})
