import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect, onTestFinished } from 'vitest'
import { test } from '../setup/world.ts'

test('control calls are published, with the names of the grants', ({ open }) => {
  const seen: [string, object][] = []
  const listen = (message: unknown, name: string | symbol) => {
    seen.push([String(name), message as object])
  }
  const names = ['grant:share', 'grant:unshare', 'grant:map', 'grant:unmap', 'grant:copy'].concat([
    'evtchn:bind',
    'evtchn:unbind',
  ])
  for (const name of names) subscribe(`interdom:${name}`, listen)
  onTestFinished(() => {
    for (const name of names) unsubscribe(`interdom:${name}`, listen)
  })
  const [a, b] = [open(1), open(2)]
  const page = a.share({ to: 2, writable: true })
  const { grants } = page
  const far = b.map(grants)
  b.copy([{ from: { ...grants[0]!, offset: 0 }, to: { bytes: new Uint8Array(1) } }])
  const port = a.evtchn.bindUnbound({ to: 2 })
  port.unbind()
  far.unmap()
  page.unmap()
  expect(seen).toEqual([
    ['interdom:grant:share', { domid: 1, to: 2, grants, writable: true, index: 0 }],
    ['interdom:grant:map', { domid: 2, grants, writable: false, index: 0 }],
    ['interdom:grant:copy', { domid: 2, statuses: [{ status: 0, name: 'GNTST_okay' }] }],
    ['interdom:evtchn:bind', { port: port.port, call: 'EVTCHN_BIND_UNBOUND_PORT', domid: 2 }],
    ['interdom:evtchn:unbind', { port: port.port }],
    ['interdom:grant:unmap', { domid: 2, grants, index: 0 }],
    ['interdom:grant:unshare', { domid: 1, grants, index: 0 }],
  ])
})
