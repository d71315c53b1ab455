import { readdirSync } from 'node:fs'
import { afterEach, beforeEach, expect } from 'vitest'
import { close } from '../../src/native/libc.ts'

/** Descriptors that a test has opened; all are closed after it. */
const mine = new Set<number>()

/** Marks a descriptor as the test's, and fails it when it is a refusal. */
export function own(fd: number): number {
  expect(fd).toBeGreaterThanOrEqual(0)
  mine.add(fd)
  return fd
}

/** The same for what comes in pairs, or not at all. */
export function ownPair(fds: [number, number] | number): [number, number] {
  if (typeof fds === 'number') throw new Error(`refused: ${fds}`)
  for (const fd of fds) own(fd)
  return fds
}

export function disown(fd: number): void {
  mine.delete(fd)
}

/** Numbers of all open descriptors but the one of the listing itself. */
function openDescriptors(): number[] {
  return readdirSync('/proc/self/fd').map(Number)
}

/** Closes after each test what it owns, and fails it when the process has more than before. */
export function closeAfterEach(): void {
  let before = 0
  beforeEach(() => {
    before = openDescriptors().length
  })
  afterEach(() => {
    for (const fd of mine) close(fd)
    mine.clear()
    expect(openDescriptors().length).toBe(before)
  })
}
