import { readFileSync } from 'node:fs'
import { expect, inject, test } from 'vitest'
import { compare, readTranscript } from './calls-transcript.ts'
import './provided.ts'

const PAGE = readFileSync(new URL('../../docs/libxen.md', import.meta.url), 'utf8')

/** The calls as the page has them, each with its mark and the reason that it leads to. */
const written = (/^```text\n(.*?)\n```$/ms.exec(PAGE)?.[1] ?? '').split('\n').map(line => {
  const [, call = line, reason] = /^(.*) \[(\d+)\]$/.exec(line) ?? []
  return { call, reason }
})

test("interdom makes the calls that Xen's libraries make, but for those that are explained", () => {
  const { theirs, ours } = inject('onXen').calls
  const found = compare(readTranscript(theirs), readTranscript(ours))
  expect(found).toBe(written.map(({ call }) => call).join('\n'))
})

test('each difference has a reason, and each reason a difference', () => {
  const isMarked = (call: string): boolean => /^[-+] /.test(call)
  for (const { call, reason } of written) {
    expect({ call, isExplained: reason !== undefined }).toEqual({
      call,
      isExplained: isMarked(call),
    })
  }
  const reasons = [...PAGE.matchAll(/^\| (\d+) \|/gm)].map(([, number]) => number)
  const given = new Set(written.flatMap(({ reason }) => reason ?? []))
  expect([...given].sort()).toEqual(reasons)
})
