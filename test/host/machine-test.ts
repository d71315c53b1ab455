import { existsSync } from 'node:fs'
import { test as base, expect } from 'vitest'
import { type HostMachine, startHost } from '../../src/start-host.ts'

/** A test with a machine of its own, which must be empty at the end. */
export const test = base.extend<{ machine: HostMachine }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the pattern
  machine: async ({}, use) => {
    const machine = await startHost({ clock: 'manual' })
    await use(machine)
    await machine.advance(1000)
    await machine.assertEmpty()
    await machine.close()
    expect(existsSync(machine.directory)).toBe(false)
  },
})
