/**
 * Waits to be killed, with an event for domain 1 armed if it is told a port. Else it has done as
 * much and let go of all, so that the system has as large a process to take down.
 */
import { connect } from '../dist/index.js'

const [port] = process.argv.slice(2)
const xen = await connect()
const page = xen.share({ to: 1, writable: true })
const bell =
  port === undefined
    ? xen.evtchn.bindUnbound({ to: 1 })
    : xen.evtchn.bindInterdomain({ domid: 1, port: Number(port) })
page.notifyOnUnmap({ sendEvent: bell })
if (port === undefined) xen.close()
globalThis.held = [page, bell]
setInterval(() => undefined, 2 ** 30)
process.send('ready')
