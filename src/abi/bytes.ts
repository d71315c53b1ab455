/** A DataView over exactly the bytes of `bytes`; everything in the ABI is little endian. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * A u64 as a number: exact below 2^53. Above, the low 12 bits are dropped, so that the page index
 * in it stays exact and is never rounded up into a neighbour.
 */
export function readU64(view: DataView, offset: number): number {
  const low = view.getUint32(offset, true)
  const high = view.getUint32(offset + 4, true)
  return high * 2 ** 32 + (high < 2 ** 21 ? low : low - (low % 4096))
}

/** Stores a number below 2^64, or a negative one in two's complement, as a u64. */
export function writeU64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true)
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32) >>> 0, true)
}
