/** Section 7.13: in which order things are given back, seen by the events that it sends. */
import assert from 'node:assert/strict'
import { UNMAP_NOTIFY_SEND_EVENT as SEND_EVENT } from '../../abi/gntalloc.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { type ConformanceCase, defineCase } from '../case.ts'
import type { CaseContext } from '../context.ts'
import type { Channel } from '../evtchn.ts'
import type { Gntalloc } from '../gntalloc.ts'
import type { Gntdev } from '../gntdev.ts'
import { ok } from '../verdict.ts'

/** Several channels to one listener, which tells the order in which they were sent on. */
class Bells {
  readonly #channels: readonly Channel[]

  static async of(t: CaseContext, count: number): Promise<Bells> {
    const near = await t.evtchn()
    const far = await t.evtchn()
    const channels: Channel[] = []
    while (channels.length < count) channels.push(await t.channel(near, far))
    return new Bells(channels)
  }

  private constructor(channels: readonly Channel[]) {
    this.#channels = channels
  }

  /** Arms a byte of a device with bell `n`. */
  async arm(device: Gntalloc | Gntdev, index: number, n: number): Promise<void> {
    await ok(device.setNotify(index, SEND_EVENT, this.#at(n).port))
  }

  /** Asserts that exactly these bells ring, in this order. */
  async expect(...order: number[]): Promise<void> {
    const { far } = this.#at(0)
    await far.expectEvents(...order.map(n => this.#at(n).farPort))
    await far.expectSilence()
  }

  #at(n: number): Channel {
    const channel = this.#channels[n]
    if (!channel) throw new RangeError(`no bell ${n}`)
    return channel
  }
}

/** A new page with a bell on it; answers its index. */
async function armedPage(bells: Bells, a: Gntalloc, n: number): Promise<number> {
  const { index } = await a.granted()
  await bells.arm(a, index, n)
  return index
}

const ofOneDescriptor: readonly ConformanceCase[] = [
  defineCase(230, 'close releases pages in the order of their allocation', async t => {
    const bells = await Bells.of(t, 3)
    const a = await t.gntalloc()
    // The bells in another order than the pages: the ports must not matter.
    for (const n of [2, 0, 1]) await armedPage(bells, a, n)
    await a.close()
    await bells.expect(2, 0, 1)
  }),

  defineCase(231, 'DEALLOC releases its pages when it is called, in their order', async t => {
    const bells = await Bells.of(t, 3)
    const a = await t.gntalloc()
    const { index } = await a.granted({ count: 3 })
    for (const n of [0, 1, 2]) await bells.arm(a, index + n * PAGE_SIZE, n)
    await ok(a.dealloc(index + 2 * PAGE_SIZE))
    await ok(a.dealloc(index, 2))
    await bells.expect(2, 0, 1)
  }),

  defineCase(232, 'close releases maps in the order of their indexes', async t => {
    const bells = await Bells.of(t, 3)
    const d = await t.gntdev()
    for (const n of [1, 2, 0]) await bells.arm(d, await d.mapAnything(), n)
    await d.close()
    await bells.expect(1, 2, 0)
  }),

  defineCase(234, 'events on one port merge until it is written back', async t => {
    const bell = await t.channel()
    const a = await t.gntalloc()
    const { index } = await a.granted({ count: 3 })
    for (const n of [0, 1, 2]) {
      await ok(a.setNotify(index + n * PAGE_SIZE, SEND_EVENT, bell.port))
    }
    await a.close()
    await bell.far.expectEvents(bell.farPort)
    await bell.expectOnce()
  }),

  defineCase(289, 'munmap releases mappings in the order of their addresses', async t => {
    const bells = await Bells.of(t, 3)
    const a = await t.gntalloc()
    const { index } = await a.granted({ count: 3 })
    const place = await t.memory(3)
    for (const [slot, n] of [0, 2, 1].entries()) {
      await bells.arm(a, index + n * PAGE_SIZE, n)
      await a.region(index + n * PAGE_SIZE, 1, { at: place.address + slot * PAGE_SIZE })
    }
    await ok(a.dealloc(index, 3))
    await bells.expect()
    await ok(place.munmap())
    await bells.expect(0, 2, 1)
  }),
]

const ofADeadProcess: readonly ConformanceCase[] = [
  defineCase(233, 'death releases memory first, then descriptors from the last', async t => {
    const bells = await Bells.of(t, 3)
    const victim = await t.disposable()
    const x = await t.gntalloc({ on: victim })
    const y = await t.gntalloc({ on: victim })
    assert.ok(x.fd < y.fd)
    await armedPage(bells, x, 0)
    await armedPage(bells, y, 1)
    const mapped = await armedPage(bells, y, 2)
    await y.region(mapped)
    await ok(y.dealloc(mapped))
    await victim.kill()
    await bells.expect(2, 1, 0)
  }),

  defineCase(
    285,
    'a killed process loses its descriptors from the last, of any device',
    async t => {
      const bells = await Bells.of(t, 4)
      const on = await t.disposable()
      const a0 = await t.gntalloc({ on })
      const d1 = await t.gntdev({ on })
      const a2 = await t.gntalloc({ on })
      const d3 = await t.gntdev({ on })
      assert.ok(a0.fd < d1.fd && d1.fd < a2.fd && a2.fd < d3.fd)
      await armedPage(bells, a0, 0)
      await bells.arm(d1, await d1.mapAnything(), 1)
      await armedPage(bells, a2, 2)
      await bells.arm(d3, await d3.mapAnything(), 3)
      await on.kill()
      await bells.expect(3, 2, 1, 0)
    },
  ),

  defineCase(286, 'an exiting process loses its descriptors from the last', async t => {
    const { bells, victim } = await threeArmed(t)
    await victim.exit()
    await bells.expect(2, 1, 0)
  }),

  defineCase(287, 'a deallocated page goes with the memory of a killed process', async t => {
    const { bells, victim, first, index } = await threeArmed(t)
    await first.region(index)
    await ok(first.dealloc(index))
    await victim.kill()
    await bells.expect(0, 2, 1)
  }),

  defineCase(288, 'a file that only a mapping held is released last of all', async t => {
    const { bells, victim, first, index } = await threeArmed(t)
    await first.region(index)
    await first.close()
    await victim.kill()
    await bells.expect(2, 1, 0)
  }),

  defineCase(
    291,
    'a killed process loses its mappings in the order of their addresses',
    async t => {
      const bells = await Bells.of(t, 3)
      const victim = await t.disposable()
      const a = await t.gntalloc({ on: victim })
      const { index } = await a.granted({ count: 3 })
      const place = await t.memory(3, victim)
      for (const n of [0, 1, 2]) {
        await bells.arm(a, index + n * PAGE_SIZE, n)
        await a.region(index + n * PAGE_SIZE, 1, { at: place.address + (2 - n) * PAGE_SIZE })
      }
      await ok(a.dealloc(index, 3))
      await victim.kill()
      await bells.expect(2, 1, 0)
    },
  ),
]

/** Three descriptors of a process that will die, the n-th with a page that rings bell n. */
async function threeArmed(t: CaseContext) {
  const bells = await Bells.of(t, 3)
  const victim = await t.disposable()
  const first = await t.gntalloc({ on: victim })
  const second = await t.gntalloc({ on: victim })
  const third = await t.gntalloc({ on: victim })
  assert.ok(first.fd < second.fd && second.fd < third.fd)
  const index = await armedPage(bells, first, 0)
  await armedPage(bells, second, 1)
  await armedPage(bells, third, 2)
  return { bells, victim, first, index }
}

export const releaseOrder: readonly ConformanceCase[] = [...ofOneDescriptor, ...ofADeadProcess]
