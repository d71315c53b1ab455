import { gunzipSync } from 'node:zlib'
import { TestbedError } from './failure.ts'
import { execute } from './process.ts'

/*
 * Start of a bzImage (Documentation/arch/x86/boot.rst):
 *
 *     0x1f1  setup_sects     u8   sectors of real-mode code after the first
 *     0x202  'HdrS'
 *     0x248  payload_offset  u32  from the first byte after the real-mode code
 *     0x24c  payload_length  u32  packed kernel, and its unpacked size in the last four bytes
 *
 * gzip has that size as the end of its own format; for all others the kernel's build appends it
 * (scripts/Makefile.lib, size_append), and their tools would call it trailing garbage.
 */
const setupSectors = 0x1f1
const signature = 0x202
const payloadOffset = 0x248
const payloadLength = 0x24c
const sector = 512
const sizeLength = 4

export type Packing = 'gzip' | 'xz' | 'zstd' | 'none'

const magics: readonly [string, Packing][] = [
  ['1f8b', 'gzip'],
  ['fd377a58', 'xz'],
  ['28b52ffd', 'zstd'],
  ['7f454c46', 'none'],
]

/** The packed kernel within a bzImage and the size that it has unpacked. */
export function kernelPayload(image: Buffer): { packing: Packing; packed: Buffer; size: number } {
  if (
    image.length < payloadLength + 4 ||
    image.toString('latin1', signature, signature + 4) !== 'HdrS'
  ) {
    throw imageError('the kernel has no x86 boot header')
  }
  const start = (image.readUInt8(setupSectors) + 1) * sector + image.readUInt32LE(payloadOffset)
  const length = image.readUInt32LE(payloadLength)
  if (length <= sizeLength || start + length > image.length) {
    throw imageError(`payload of ${length} bytes at ${start} in a kernel of ${image.length} bytes`)
  }
  const payload = image.subarray(start, start + length)
  const packing = packingOf(payload)
  if (packing === undefined) {
    const magic = payload.toString('hex', 0, 4)
    throw imageError(`the kernel is packed in a way not known here (${magic})`)
  }
  const size = payload.readUInt32LE(length - sizeLength)
  const whole = packing === 'gzip' || packing === 'none'
  return { packing, packed: whole ? payload : payload.subarray(0, length - sizeLength), size }
}

/** How a file is packed, by its first bytes. */
export function packingOf(bytes: Buffer): Packing | undefined {
  const start = bytes.toString('hex', 0, 4)
  return magics.find(([magic]) => start.startsWith(magic))?.[1]
}

/** Unpacks with Node itself or with the tool of that name (Node 20 knows neither xz nor zstd). */
export async function unpack(packing: Packing, packed: Buffer): Promise<Buffer> {
  if (packing === 'none') return packed
  if (packing === 'gzip') return gunzipSync(packed)
  return await execute(packing, ['-dc'], { input: packed })
}

/**
 * The kernel as a plain ELF file. Xen would unpack a bzImage by itself, but under emulation that
 * takes longer than all the rest of the boot.
 */
export async function unpackKernel(image: Buffer): Promise<Buffer> {
  const { packing, packed, size } = kernelPayload(image)
  const kernel = await unpack(packing, packed)
  if (packingOf(kernel) !== 'none') throw imageError('the unpacked kernel is no ELF file')
  if (packing !== 'none' && kernel.length !== size) {
    throw imageError(`the kernel has ${kernel.length} bytes unpacked, its header says ${size}`)
  }
  return kernel
}

function imageError(message: string): TestbedError {
  return new TestbedError('ERR_TESTBED_IMAGE', message)
}
