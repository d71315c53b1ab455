import { describe, expect, onTestFinished } from 'vitest'
import type { Connection } from '../../src/connection.ts'
import { collect, collectUntil } from '../memory/collect.ts'
import { test } from '../setup/world.ts'

const { NODE_V8_COVERAGE: coverage } = process.env

/** What process.emitWarning is told while a test runs. */
function warnings(): string[] {
  const seen: string[] = []
  const listen = (warning: Error) => {
    if (warning.name === 'ResourceWarning') seen.push(warning.message)
  }
  process.on('warning', listen)
  onTestFinished(() => {
    process.off('warning', listen)
  })
  return seen
}

// Finalizers do nothing under coverage.
describe.skipIf(coverage !== undefined)('what was dropped without close', () => {
  test('a share lives for as long as its bytes, and is then released with one warning', async ({
    open,
    world,
  }) => {
    const seen = warnings()
    const a = open(1)
    const b = open(2)
    const held: Uint8Array[] = []
    const grants = shareAndDrop(a, held)
    await collect()
    using far = b.map(grants, { writable: true })
    held[0]![5] = 6
    expect(far.bytes[5]).toBe(6)
    expect(seen).toEqual([])
    held.pop()
    const isReleased = () =>
      world.machine.leftovers().some(line => /ref \d+ ended, but domain 2 still maps it/.test(line))
    expect(await collectUntil(isReleased)).toBe(true)
    expect(await collectUntil(() => seen.length > 0)).toBe(true)
    expect(seen).toEqual([expect.stringMatching(/^share of 1:\d+ was dropped without close\(\)/)])
  })

  test('a mapping that nobody looked at is released at once', async ({ open }) => {
    const seen = warnings()
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, writable: true })
    page.bytes[9] = 1
    const drop = () => b.map(page.grants, { writable: true }).notifyOnUnmap({ clearByte: 9 })
    drop()
    expect(await collectUntil(() => page.bytes[9] === 0)).toBe(true)
    expect(await collectUntil(() => seen.length === 1)).toBe(true)
  })

  test('a read-only mapping lives for as long as its unsafe bytes', async ({ open }) => {
    const seen = warnings()
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2 })
    page.bytes[0] = 1
    const held: Uint8Array[] = []
    const keepBytes = () => held.push(b.map(page.grants).unsafeBytes())
    keepBytes()
    await collect()
    expect(held[0]![0]).toBe(1)
    held.pop()
    expect(await collectUntil(() => seen.length === 1)).toBe(true)
  })

  test('a port is unbound, but not while somebody awaits it', async ({ open }) => {
    const seen = warnings()
    const [a, b] = [open(1), open(2)]
    let heard = 0
    using near = a.evtchn.bindUnbound({ to: 2 })
    const listen = async () => {
      const far = b.evtchn.bindInterdomain({ domid: 1, port: near.port })
      for await (const _ of far.events()) {
        heard++
        if (heard === 2) return
      }
    }
    const ended = listen()
    await collect()
    near.notify()
    await ended
    expect(heard).toBe(2)
    expect(await collectUntil(() => seen.length === 1)).toBe(true)
    expect(seen[0]).toMatch(/^port \d+ was dropped without close/)
  })

  test('is not spoken of when it was closed, by itself or with its connection', async ({
    open,
  }) => {
    const seen = warnings()
    const a = open(1)
    const use = () => {
      a.share({ to: 2 }).unmap()
      a.share({ to: 2 }).bytes[0] = 1
      a.evtchn.bindUnbound({ to: 2 }).close()
      a.evtchn.bindUnbound({ to: 2 })
      a.close()
    }
    use()
    await collect()
    expect(seen).toEqual([])
  })
})

/** In a function of its own, whose temporaries are gone when it has returned. */
function shareAndDrop(connection: Connection, held: Uint8Array[]) {
  const page = connection.share({ to: 2, writable: true })
  held.push(page.bytes.subarray(0, 16))
  return page.grants
}
