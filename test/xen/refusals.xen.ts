import { expect, inject, test } from 'vitest'
import { expectedRefusals } from '../cli/bad-input.ts'
import './provided.ts'

/** The same script and the same words as on a host (test/cli/bad-input.test.ts). */
test.each(Object.entries(inject('onXen').refusals))(
  'Xen with %s refuses what a host refuses, in the same words',
  (_kernel, refusals) => {
    expect(refusals).toBe(expectedRefusals())
  },
)
