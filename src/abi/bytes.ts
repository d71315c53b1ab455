/** A DataView over exactly the bytes of `bytes`; everything in the ABI is little endian. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

// The calls' structs are read and written byte by byte: a DataView costs some 400 ns to make, and
// to ask a short array for its buffer moves it out of V8's own heap. These compile to a few loads.

export function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)
}

export function readU32(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)
  return (low | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)) >>> 0
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value
  bytes[at + 1] = value >>> 8
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value
  bytes[at + 1] = value >>> 8
  bytes[at + 2] = value >>> 16
  bytes[at + 3] = value >>> 24
}

/**
 * A u64 as a number: exact below 2^53. Above, the low 12 bits are dropped, so that the page index
 * in it stays exact and is never rounded up into a neighbour.
 */
export function readU64(bytes: Uint8Array, at: number): number {
  const low = readU32(bytes, at)
  const high = readU32(bytes, at + 4)
  return high * 2 ** 32 + (high < 2 ** 21 ? low : low - (low % 4096))
}

/** Stores a number below 2^64, or a negative one in two's complement, as a u64. */
export function writeU64(bytes: Uint8Array, at: number, value: number): void {
  writeU32(bytes, at, value >>> 0)
  writeU32(bytes, at + 4, Math.floor(value / 2 ** 32) >>> 0)
}
