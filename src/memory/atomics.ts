/**
 * Atomic operations on words that another process shares: sequentially consistent, exact across
 * processes (test/memory/atomics.test.ts keeps that true for each version of Node), although the
 * language promises it for SharedArrayBuffer only. The one place of the project that says Atomics,
 * with read-only.ts.
 *
 * There is no wait: Atomics.wait refuses memory that is no SharedArrayBuffer, so waking is always
 * the work of an event channel, as in Xen.
 */

/**
 * The u32 words of some bytes of a shared page. RangeError unless they start at a multiple of 4;
 * bytes behind the last whole word are left out.
 */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  if (bytes.byteOffset % 4 !== 0)
    throw new RangeError(`words need an offset that 4 divides, not ${bytes.byteOffset}`)
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2)
}

export function load(words: Uint32Array, index: number): number {
  return Atomics.load(words, index)
}

export function store(words: Uint32Array, index: number, value: number): void {
  Atomics.store(words, index, value)
}

/** Answers the word as it was before, as all of the following do. */
export function exchange(words: Uint32Array, index: number, value: number): number {
  return Atomics.exchange(words, index, value)
}

export function compareExchange(
  words: Uint32Array,
  index: number,
  expected: number,
  value: number,
): number {
  return Atomics.compareExchange(words, index, expected, value)
}

export function or(words: Uint32Array, index: number, bits: number): number {
  return Atomics.or(words, index, bits)
}

export function and(words: Uint32Array, index: number, bits: number): number {
  return Atomics.and(words, index, bits)
}

export function add(words: Uint32Array, index: number, value: number): number {
  return Atomics.add(words, index, value)
}
