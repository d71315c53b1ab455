/** Section 7.13: what remains of a domain that was destroyed, its kernel never asked. */
import assert from 'node:assert/strict'
import { UNMAP_NOTIFY_CLEAR_BYTE, UNMAP_NOTIFY_SEND_EVENT } from '../../abi/gntalloc.ts'
import { type ConformanceCase, defineCaseFor } from '../case.ts'
import { ok } from '../verdict.ts'

const BOTH = UNMAP_NOTIFY_CLEAR_BYTE | UNMAP_NOTIFY_SEND_EVENT

export const destroyedDomain: readonly ConformanceCase[] = [
  defineCaseFor('two-domains', 320, 'pages of a destroyed domain stay while mapped', async t => {
    const other = await t.otherDomain()
    const on = await other.puppet()
    const { ref } = await (await t.gntalloc({ on })).granted({ domid: t.domid })
    const grants = [{ domid: other.domid, ref }]
    const d = await t.gntdev()
    const { index, region } = await d.mapped(grants)
    await region.store(5, 7)

    const remotePort = await ok((await t.evtchn({ on })).bindUnbound(t.domid))
    const e = await t.evtchn()
    const port = await ok(e.bindInterdomain(remotePort, other.domid))
    await e.expectEvents(port)
    await ok(d.setNotify(index + 5, BOTH, port))

    await other.destroy()
    assert.equal(await region.byte(5), 7)
    await region.store(6, 8)
    assert.equal(await region.byte(6), 8)
    assert.equal(await e.notify(port), 0)
    await e.expectSilence()
    assert.equal(await d.probe(grants), 0)
    await ok(region.munmap())
    assert.equal(await d.unmap(index), 0)
    await e.expectSilence()
  }),

  defineCaseFor(
    'two-domains',
    321,
    'a destroyed domain clears no byte and sends nothing',
    async t => {
      const other = await t.otherDomain()
      const on = await other.puppet()
      const a = await t.gntalloc()
      const { index, ref, grants, region } = await a.share({ domid: other.domid })
      const e = await t.evtchn()
      const port = await ok(e.bindUnbound(other.domid))
      const remotePort = await ok((await t.evtchn({ on })).bindInterdomain(port, t.domid))
      const d = await t.gntdev({ on })
      const mapped = await d.mapped(grants)
      await ok(d.setNotify(mapped.index + 5, BOTH, remotePort))
      await region.store(5, 7)

      await other.destroy()
      assert.equal(await region.byte(5), 7)
      await e.expectSilence()
      assert.equal(await e.notify(port), 0)
      await ok(region.munmap())
      assert.equal(await a.dealloc(index), 0)
      assert.equal((await a.granted()).ref === ref, t.profile.returnsRefs)
    },
  ),
]
