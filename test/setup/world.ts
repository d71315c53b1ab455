import { test as base } from 'vitest'
import { Connection } from '../../src/connection.ts'
import { createWorld, type World, type WorldProcess } from '../../src/sim/index.ts'

interface WorldFixture {
  /** A world of this test's own, which must be empty again at its end. */
  readonly world: World
  /** A connection in a new process of a domain, closed at the end if the test did not. */
  readonly open: (domid: number, process?: WorldProcess) => Connection
}

/** After a page's last mapping is gone a kernel looks for it once a second. */
const DEFERRED_FREE_MS = 1000

export const test = base.extend<WorldFixture>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the pattern
  world: async ({}, use) => {
    const world = createWorld({ seed: 7 })
    await use(world)
    world.clock.advance(DEFERRED_FREE_MS)
    world.assertEmpty()
    world.close()
  },
  open: async ({ world }, use) => {
    const opened: Connection[] = []
    await use((domid, process = world.domain(domid).process()) => {
      const connection = new Connection(process)
      opened.push(connection)
      return connection
    })
    for (const connection of opened.reverse()) connection.close()
  },
})
