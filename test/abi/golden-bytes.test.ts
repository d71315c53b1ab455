import { describe, expect, test } from 'vitest'
import * as evtchn from '../../src/abi/evtchn.ts'
import * as gntalloc from '../../src/abi/gntalloc.ts'
import * as gntdev from '../../src/abi/gntdev.ts'

/** `'01000200 03000000'`: groups of bytes in the order in which they lie in memory. */
function hex(bytes: Uint8Array): string {
  const words = Buffer.from(bytes)
    .toString('hex')
    .match(/.{1,8}/g)
  return (words ?? []).join(' ')
}

function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'))
}

describe('gntalloc', () => {
  test('ALLOC_GREF is 24 bytes for one page, although its members end at 20', () => {
    const request = gntalloc.encodeAllocGref({ domid: 0x1234, flags: 1, count: 1 })
    expect(hex(request)).toBe('34120100 01000000 00000000 00000000 00000000 00000000')
    const reply = bytes('34120100 01000000 00100000 01000000 08000000 00000000')
    expect(gntalloc.decodeAllocGrefReply(reply, 1)).toEqual({ index: 0x1_0000_1000, refs: [8] })
  })

  test('ALLOC_GREF of three pages has its refs behind the index', () => {
    expect(gntalloc.encodeAllocGref({ domid: 2, flags: 0, count: 3 })).toHaveLength(28)
    expect(hex(gntalloc.encodeRefs(Uint32Array.of(8, 520, 0xfffffff0)))).toBe(
      '08000000 08020000 f0ffffff',
    )
  })

  test('DEALLOC_GREF and UNMAP_GRANT_REF have one layout', () => {
    const release = { index: 0x3000, count: 2 }
    const expected = '00300000 00000000 02000000 00000000'
    expect(hex(gntalloc.encodeDeallocGref(release))).toBe(expected)
    expect(hex(gntdev.encodeUnmapGrantRef(release))).toBe(expected)
    expect(gntdev.decodeUnmapGrantRef(bytes(expected))).toEqual(release)
  })

  test('SET_UNMAP_NOTIFY names a byte inside the file', () => {
    const notify = { index: 0x1064, action: 3, port: 9 }
    const expected = '64100000 00000000 03000000 09000000'
    expect(hex(gntalloc.encodeUnmapNotify(notify))).toBe(expected)
    expect(gntalloc.decodeUnmapNotify(bytes(expected))).toEqual(notify)
  })

  test('an index above 2^53 keeps its page, and is never rounded up into the next', () => {
    const { index } = gntalloc.decodeDeallocGref(bytes('ffffffff ffffff7f 01000000 00000000'))
    expect(index).toBe(0x7fffffff * 2 ** 32 + 0xfffff000)
  })
})

describe('gntdev', () => {
  test('MAP_GRANT_REF has pairs of domid and ref behind its index', () => {
    const request = gntdev.encodeMapGrantRef([
      { domid: 1, ref: 8 },
      { domid: 0x10002, ref: 0xfffffff0 },
    ])
    expect(hex(request)).toBe(
      '02000000 00000000 00000000 00000000 01000000 08000000 02000100 f0ffffff',
    )
    gntdev.writeMapGrantRefIndex(request, 0x4000)
    expect(gntdev.decodeMapGrantRefIndex(request)).toBe(0x4000)
    expect([...gntdev.decodeGrantRefs(request.subarray(16))]).toEqual([1, 8, 0x10002, 0xfffffff0])
  })

  test('GET_OFFSET_FOR_VADDR carries an address there and an offset and a count back', () => {
    const request = gntdev.encodeOffsetForVaddr(0x7f12_3456_7000)
    expect(hex(request)).toBe('00705634 127f0000 00000000 00000000 00000000 00000000')
    gntdev.writeOffsetForVaddrReply(request, 0x1000, 2)
    expect(hex(request)).toBe('00705634 127f0000 00100000 00000000 02000000 00000000')
    expect(gntdev.decodeOffsetForVaddrReply(request)).toEqual({ offset: 0x1000, count: 2 })
  })

  test('a copy segment is 24 bytes, and its flags say what its sides are', () => {
    const source = { domid: 3, ref: 812, offset: 100 }
    const dest = { address: 0x7f00_0000_1000 }
    const flags = gntdev.copyFlags(source, dest)
    const segment = { source, dest, len: 4000 - 4, flags }
    const encoded = gntdev.encodeCopySegments([segment])
    expect(hex(encoded)).toBe('2c030000 64000300 00100000 007f0000 9c0f0100 00000000')
    expect(gntdev.decodeCopySegment(encoded)).toEqual(segment)
    encoded.set(gntdev.encodeCopyStatus(-9), gntdev.COPY_SEGMENT_STATUS)
    expect(gntdev.decodeCopyStatus(encoded, 0)).toBe(-9)
    expect(hex(gntdev.encodeGrantCopy(1, 0x7f00_0000_2000))).toBe(
      '01000000 00000000 00200000 007f0000',
    )
  })
})

describe('evtchn', () => {
  test('the calls take one or two words, and RESTRICT_DOMID half of one', () => {
    expect(hex(evtchn.encodeU32(0xdeadbeef))).toBe('efbeadde')
    expect(hex(evtchn.encodeBindInterdomain(2, 9))).toBe('02000000 09000000')
    expect(evtchn.decodeBindInterdomain(bytes('02000000 09000000'))).toEqual({
      remoteDomid: 2,
      remotePort: 9,
    })
    expect(hex(evtchn.encodeRestrictDomid(0x0102))).toBe('0201')
    expect(evtchn.decodeRestrictDomid(bytes('0201'))).toBe(0x0102)
  })

  test('read and write carry ports, four bytes each', () => {
    expect(hex(evtchn.encodePorts([5, 1023]))).toBe('05000000 ff030000')
    expect(evtchn.decodePorts(bytes('05000000 ff030000 01'))).toEqual([5, 1023])
  })
})
