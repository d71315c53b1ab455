import { describe, expect } from 'vitest'
import { DOMID_SELF } from '../../src/abi/domid.ts'
import { test } from '../setup/world.ts'

describe('a grant copy', () => {
  test('reads from a grant into ordinary bytes, without a mapping', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2 })
    page.bytes.set([1, 2, 3, 4], 100)
    const bytes = new Uint8Array([9, 9, 9, 9, 9, 9])
    const from = { ...page.grants[0]!, offset: 100 }
    const answer = b.copy([{ from, to: { bytes: bytes.subarray(1, 5) } }])
    expect(answer).toEqual([{ status: 0, name: 'GNTST_okay' }])
    expect([...bytes]).toEqual([9, 1, 2, 3, 4, 9])
  })

  test('writes ordinary bytes into a writable grant', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, writable: true })
    const to = { ...page.grants[0]!, offset: 4094 }
    const bytes = new Uint8Array([5, 6, 7])
    expect(b.copy([{ from: { bytes }, to, len: 2 }])[0]?.status).toBe(0)
    expect([...page.bytes.subarray(4092)]).toEqual([0, 0, 5, 6])
  })

  test('goes from memory of the platform directly, and from grant to grant', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2, writable: true, pages: 2 })
    using own = b.share({ to: 1 })
    own.bytes.fill(7)
    const [first, second] = page.grants.map(grant => ({ ...grant, offset: 0 }))
    const statuses = b.copy([
      { from: { bytes: own.bytes.subarray(0, 10) }, to: first! },
      { from: first!, to: second!, len: 5 },
    ])
    expect(statuses.map(({ status }) => status)).toEqual([0, 0])
    expect([...page.bytes.subarray(0, 11)]).toEqual([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0])
    expect([...page.bytes.subarray(4096, 4102)]).toEqual([7, 7, 7, 7, 7, 0])
  })

  test('tells of each segment by itself', ({ open }) => {
    const [a, b] = [open(1), open(2)]
    using page = a.share({ to: 2 })
    page.bytes[0] = 3
    const good = { ...page.grants[0]!, offset: 0 }
    const [one, two, three] = [new Uint8Array(1), new Uint8Array([8]), new Uint8Array(1)]
    const statuses = b.copy([
      { from: good, to: { bytes: one } },
      { from: { domid: 1, ref: 1_000_000, offset: 0 }, to: { bytes: two } },
      { from: { bytes: three }, to: good },
    ])
    expect(statuses).toEqual([
      { status: 0, name: 'GNTST_okay' },
      { status: -3, name: 'GNTST_bad_gntref' },
      { status: -1, name: 'GNTST_general_error' },
    ])
    expect([one[0], two[0], page.bytes[0]]).toEqual([3, 8, 3])
  })

  test('accepts the own domain by DOMID_SELF', ({ open }) => {
    const a = open(1)
    using page = a.share({ to: 1 })
    page.bytes[1] = 2
    const bytes = new Uint8Array(2)
    const { ref } = page.grants[0]!
    expect(
      a.copy([{ from: { domid: DOMID_SELF, ref, offset: 0 }, to: { bytes } }])[0]?.status,
    ).toBe(0)
    expect([...bytes]).toEqual([0, 2])
  })

  test('of nothing is nothing', ({ open }) => {
    expect(open(1).copy([])).toEqual([])
  })

  test('refuses what cannot be, naming the segment', ({ open }) => {
    const a = open(1)
    const bytes = new Uint8Array(8)
    const grant = { domid: 1, ref: 8, offset: 0 }
    const local = { bytes }
    expect(() => a.copy([{ from: local, to: local }])).toThrow(
      /segment 0: one side must be a grant/,
    )
    expect(() => a.copy([{ from: grant, to: grant }])).toThrow(/segment 0: len must be a number/)
    expect(() => a.copy([{ from: grant, to: local, len: 9 }])).toThrow(
      /segment 0: len must be an integer from 0 to 8, got 9/,
    )
    expect(() => a.copy([{ from: { ...grant, offset: 4090 }, to: local }])).toThrow(
      /len must be an integer from 0 to 6, got 8/,
    )
    expect(() => a.copy([{ from: { ...grant, offset: 4097 }, to: local }])).toThrow(/from.offset/)
    expect(() => a.copy([{ from: null as never, to: local }])).toThrow(TypeError)
    expect(() => a.copy([{ from: { bytes: [] as never }, to: grant }])).toThrow(/Uint8Array/)
    expect(() => a.copy({} as never)).toThrow(/array of segments/)
    expect(() => a.copy(new Array(16385).fill({ from: grant, to: local }))).toThrow(/16384/)
  })
})
