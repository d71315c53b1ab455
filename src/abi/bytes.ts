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

/** From so many words on it is cheaper to look at them as such than to take them together. */
const WORDS_AT_ONCE_MIN = 32

/** `count` words from `at` on, to be read at once: many that are aligned are no copy. */
export function wordsIn(bytes: Uint8Array, at: number, count: number): Uint32Array {
  const isAligned = (bytes.byteOffset + at) % 4 === 0
  if (count >= WORDS_AT_ONCE_MIN && isAligned && at + 4 * count <= bytes.length)
    return new Uint32Array(bytes.buffer, bytes.byteOffset + at, count)
  const words = new Uint32Array(count)
  for (let i = 0; i < count; i++) words[i] = readU32(bytes, at + 4 * i)
  return words
}

/** Words as bytes, to be read at once: many are no copy. */
export function bytesIn(words: Uint32Array): Uint8Array {
  if (words.length >= WORDS_AT_ONCE_MIN)
    return new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
  const bytes = new Uint8Array(4 * words.length)
  for (let i = 0; i < words.length; i++) writeU32(bytes, 4 * i, words[i] as number)
  return bytes
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
