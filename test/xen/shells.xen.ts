import { expect, inject, test } from 'vitest'
import { expectedTranscript } from '../cli/two-shells.ts'
import './provided.ts'

/** The same script and the same words as of two shells on a host (test/cli/two-shells.test.ts). */
test.each(Object.entries(inject('onXen').shells))(
  'the shells of %s on Xen say what two on a host say',
  (_who, transcript) => {
    expect(transcript).toBe(expectedTranscript())
  },
)
