/** What another domain sees of ours and we of it: its processes killed, itself destroyed. */
import assert from 'node:assert/strict'
import { ERRNO } from '../../abi/errno.ts'
import { UNMAP_NOTIFY_CLEAR_BYTE, UNMAP_NOTIFY_SEND_EVENT } from '../../abi/gntalloc.ts'
import { type CaseBody, type ConformanceCase, defineCaseFor } from '../case.ts'
import type { CaseContext } from '../context.ts'
import type { Evtchn } from '../evtchn.ts'
import type { Puppet } from '../puppet.ts'
import type { RigDomain } from '../rig.ts'
import { ok, refused } from '../verdict.ts'

const BOTH = UNMAP_NOTIFY_CLEAR_BYTE | UNMAP_NOTIFY_SEND_EVENT

/** How often a domain that is about to be gone is asked for. */
const ASKED_MAX = 200
const ASKED_EVERY_MS = 50

const defineTwoDomains = (id: number, title: string, body: CaseBody): ConformanceCase =>
  defineCaseFor('two-domains', id, title, body)

/** A channel to a process of another domain, both ends idle. */
interface Line {
  readonly near: Evtchn
  readonly port: number
  readonly far: Evtchn
  readonly farPort: number
}

async function lineTo(t: CaseContext, other: RigDomain, on: Puppet): Promise<Line> {
  const far = await t.evtchn({ on })
  const farPort = await ok(far.bindUnbound(t.domid))
  const near = await t.evtchn()
  const port = await ok(near.bindInterdomain(farPort, other.domid))
  await near.expectEvents(port)
  return { near, port, far, farPort }
}

/** A page of another domain, granted to ours, as we name it. */
async function pageOf(t: CaseContext, other: RigDomain, on: Puppet) {
  const a = await t.gntalloc({ on })
  const page = await a.share({ domid: t.domid })
  return { ...page, a, grants: [{ domid: other.domid, ref: page.ref }] }
}

const killed: readonly ConformanceCase[] = [
  defineTwoDomains(500, 'a granter that is killed in another domain is heard of', async t => {
    const other = await t.otherDomain()
    const on = await other.puppet()
    const { a, index, grants } = await pageOf(t, other, on)
    const line = await lineTo(t, other, on)
    await ok(a.setNotify(index + 5, BOTH, line.farPort))
    const { region } = await (await t.gntdev()).mapped(grants)
    await region.store(5, 7, 8)
    await on.kill()
    // Its port went before its page, with the descriptor that was opened last.
    if (t.profile.holdsNotifyPorts) await line.near.expectEvents(line.port)
    else await line.near.expectSilence()
    assert.deepEqual(await region.bytes(5, 2), Uint8Array.of(0, 8))
    await region.store(5, 9)
    assert.equal(await region.byte(5), 9)
  }),

  defineTwoDomains(501, 'a mapper that is killed in another domain is heard of', async t => {
    const other = await t.otherDomain()
    const on = await other.puppet()
    const a = await t.gntalloc()
    const { index, grants, region } = await a.share({ domid: other.domid })
    const line = await lineTo(t, other, on)
    const d = await t.gntdev({ on })
    const mapped = await d.mapped(grants)
    await ok(d.setNotify(mapped.index + 5, BOTH, line.farPort))
    await region.store(5, 7, 8)
    await on.kill()
    await line.near.expectEvents(line.port)
    assert.deepEqual(await region.bytes(5, 2), Uint8Array.of(0, 8))
    await ok(region.munmap())
    assert.equal(await a.dealloc(index), 0)
    const { grants: next } = await a.granted()
    if (t.profile.returnsRefs) assert.deepEqual(next, grants)
    else assert.notDeepEqual(next, grants)
  }),

  defineTwoDomains(502, 'a granter that is killed between map and mmap is missed', async t => {
    const other = await t.otherDomain()
    const on = await other.puppet()
    const { grants } = await pageOf(t, other, on)
    const d = await t.gntdev()
    const { index } = await ok(d.map(grants))
    await on.kill()
    await refused('EINVAL', d.mmap(index))
    assert.equal(await d.unmap(index), 0)
  }),

  defineTwoDomains(
    503,
    'a port of a killed process is free for the next in its domain',
    async t => {
      const other = await t.otherDomain()
      const first = await other.puppet()
      const { near, port } = await lineTo(t, other, first)
      await first.kill()
      await near.expectSilence()
      assert.equal(await near.notify(port), 0)
      const heir = await t.evtchn({ on: await other.puppet() })
      const farPort = await ok(heir.bindInterdomain(port, t.domid))
      await heir.expectEvents(farPort)
      await ok(near.notify(port))
      await heir.expectEvents(farPort)
      await ok(heir.notify(farPort))
      await near.expectEvents(port)
    },
  ),
]

const shared: readonly ConformanceCase[] = [
  defineTwoDomains(504, 'a page that another domain maps is freed once it lets go', async t => {
    const other = await t.otherDomain()
    const on = await other.puppet()
    const a = await t.gntalloc()
    const { index, ref, grants, region: ours } = await a.share({ domid: other.domid })
    await ours.store(0, 1)
    const d = await t.gntdev({ on })
    const { index: map, region } = await d.mapped(grants)
    await ok(ours.munmap())
    assert.equal(await a.dealloc(index), 0)
    await t.settleDeferred()
    assert.equal(await region.byte(0), 1)
    assert.equal(await d.probe(grants), 0)
    assert.notEqual((await a.granted()).ref, ref)
    await ok(region.munmap())
    await ok(d.unmap(map))
    await t.settleDeferred()
    if (!t.profile.freesByTimer) await ok(a.alloc({ count: 0 }))
    await refused('EINVAL', d.probe(grants))
  }),

  defineTwoDomains(505, 'what was meant for one domain is refused to a third', async t => {
    const [one, third] = [await t.otherDomain(), await t.otherDomain()]
    const [onOne, onThird] = [await one.puppet(), await third.puppet()]
    const { grants } = await (await t.gntalloc()).share({ domid: one.domid })
    const port = await ok((await t.evtchn()).bindUnbound(one.domid))
    await refused('EINVAL', (await t.gntdev({ on: onThird })).probe(grants))
    await refused('EINVAL', (await t.evtchn({ on: onThird })).bindInterdomain(port, t.domid))
    await ok((await t.gntdev({ on: onOne })).probe(grants))
    await ok((await t.evtchn({ on: onOne })).bindInterdomain(port, t.domid))
  }),

  defineTwoDomains(506, 'one map may hold pages of three domains', async t => {
    const own = await (await t.peerGntalloc()).share()
    const grants = [...own.grants]
    await own.region.store(0, 1)
    for (const byte of [2, 3]) {
      const other = await t.otherDomain()
      const page = await pageOf(t, other, await other.puppet())
      await page.region.store(0, byte)
      grants.push(...page.grants)
    }
    const { region } = await (await t.gntdev()).mapped(grants)
    const bytes = [0, 1, 2].map(page => region.part(page, 1).byte(0))
    assert.deepEqual(await Promise.all(bytes), [1, 2, 3])
  }),
]

const destroyed: readonly ConformanceCase[] = [
  defineTwoDomains(507, 'a domain destroyed between map and mmap is missed', async t => {
    const other = await t.otherDomain()
    const on = await other.puppet()
    const kept = await pageOf(t, other, on)
    const late = await pageOf(t, other, on)
    const remotePort = await ok((await t.evtchn({ on })).bindUnbound(t.domid))
    const d = await t.gntdev()
    const { index: held, region } = await d.mapped(kept.grants)
    const { index } = await ok(d.map(late.grants))
    await other.destroy()
    await refused('EINVAL', d.mmap(index))
    await refused('EINVAL', d.probe(late.grants))
    const e = await t.evtchn()
    // Its number stays taken by what is left of it, as long as we map a page.
    await refused('EINVAL', e.bindInterdomain(remotePort, other.domid))
    await ok(region.munmap())
    await ok(d.unmap(held))
    assert.equal(await d.unmap(index), 0)
    await expectGone(t, () => e.bindInterdomain(remotePort, other.domid))
  }),

  defineTwoDomains(508, 'ports to a destroyed domain stay ours, with nobody there', async t => {
    const other = await t.otherDomain()
    const { near, port } = await lineTo(t, other, await other.puppet())
    const unbound = await ok(near.bindUnbound(other.domid))
    const a = await t.gntalloc()
    const { index } = await a.granted()
    await ok(a.setNotify(index, UNMAP_NOTIFY_SEND_EVENT, port))
    await other.destroy()
    await near.expectSilence()
    for (const left of [port, unbound]) assert.equal(await near.notify(left), 0)
    assert.equal(await a.dealloc(index), 0)
    await near.expectSilence()
    for (const left of [port, unbound]) assert.equal(await near.unbind(left), 0)
  }),
]

/** Asserts that the refusal becomes ESRCH: Xen takes a dead domain apart in its own time. */
async function expectGone(t: CaseContext, ask: () => Promise<number>): Promise<void> {
  for (let asked = 1; asked < ASKED_MAX; asked++) {
    const answer = await ask()
    if (answer === -ERRNO.ESRCH) return
    await refused('EINVAL', answer)
    await t.settle(ASKED_EVERY_MS)
  }
  await refused('ESRCH', ask())
}

export const otherDomains: readonly ConformanceCase[] = [...killed, ...shared, ...destroyed]
