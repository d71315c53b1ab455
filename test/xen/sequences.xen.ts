import { expect, inject, test } from 'vitest'
import './provided.ts'

/** `npm run differential -- --platform xen --seed N --count 1` makes one that differs short. */
test.each(Object.entries(inject('onXen').sequences))(
  'Xen with %s answers random sequences of calls as a world does',
  (_kernel, { seed, count, differing }) => {
    console.error(`${count} sequences from INTERDOM_SEED=${seed}`)
    expect(differing).toEqual([])
  },
)
