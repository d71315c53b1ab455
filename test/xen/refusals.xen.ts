import { expect, inject, test } from 'vitest'
import { expectedRefusals } from '../cli/bad-input.ts'
import './provided.ts'

/** The same script and the same words as on a host (test/cli/bad-input.test.ts). */
test('Xen refuses what a host refuses, in the same words', () => {
  expect(inject('onXen').refusals).toBe(expectedRefusals())
})
