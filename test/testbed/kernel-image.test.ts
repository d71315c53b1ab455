import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { kernelPayload, packingOf, unpackKernel } from '../../src/testbed/kernel-image.ts'

const kernel = Buffer.concat([Buffer.from('\x7fELF', 'latin1'), Buffer.alloc(3000, 7)])
const setupSectors = 3
const payloadOffset = 0x2cc

/** A bzImage with nothing in it but what the boot protocol says of the payload. */
function bzImage(payload: Buffer): Buffer {
  const start = (setupSectors + 1) * 512 + payloadOffset
  const image = Buffer.alloc(start + payload.length + 100)
  image.writeUInt8(setupSectors, 0x1f1)
  image.write('HdrS', 0x202, 'latin1')
  image.writeUInt32LE(payloadOffset, 0x248)
  image.writeUInt32LE(payload.length, 0x24c)
  payload.copy(image, start)
  return image
}

function withSize(packed: Buffer, size: number): Buffer {
  const tail = Buffer.alloc(4)
  tail.writeUInt32LE(size)
  return Buffer.concat([packed, tail])
}

describe('a kernel image', () => {
  test('packed by gzip is unpacked whole', async () => {
    expect(await unpackKernel(bzImage(gzipSync(kernel)))).toEqual(kernel)
  })

  test('that is not packed is taken as it is', async () => {
    expect(await unpackKernel(bzImage(kernel))).toEqual(kernel)
  })

  test.each([
    ['xz', 'fd377a585a00'],
    ['zstd', '28b52ffd0488'],
  ])('packed by %s gives its payload without the size at its end', (packing, magic) => {
    const packed = Buffer.from(magic, 'hex')
    const payload = kernelPayload(bzImage(withSize(packed, 57_647_116)))
    expect(payload).toEqual({ packing, packed, size: 57_647_116 })
  })

  test('without a boot header is refused', async () => {
    await expect(unpackKernel(Buffer.alloc(4096))).rejects.toThrow('no x86 boot header')
    await expect(unpackKernel(Buffer.alloc(10))).rejects.toThrow('no x86 boot header')
  })

  test('whose payload goes past its end is refused with both sizes', () => {
    const image = bzImage(gzipSync(kernel))
    image.writeUInt32LE(1_000_000, 0x24c)
    expect(() => kernelPayload(image)).toThrow(/payload of 1000000 bytes .* of \d+ bytes/)
  })

  test('packed in an unknown way is refused with the first bytes', () => {
    const lz4 = withSize(Buffer.from('02214c18', 'hex'), 5)
    expect(() => kernelPayload(bzImage(lz4))).toThrow('02214c18')
  })

  test('that holds no ELF file is refused', async () => {
    await expect(unpackKernel(bzImage(gzipSync(Buffer.alloc(64))))).rejects.toThrow('no ELF')
  })
})

test('a file of no known packing has none', () => {
  expect(packingOf(Buffer.from('text'))).toBeUndefined()
  expect(packingOf(Buffer.alloc(0))).toBeUndefined()
})
