/** Up to so many words a loop is faster than a call of the engine. */
export const WORDS_LOOP_MAX = 32

/** Copies `count` words, those of `from` at `at`, to those of `into` at `start`. */
export function copyWords(
  from: Uint32Array,
  at: number,
  count: number,
  into: Uint32Array,
  start: number,
): void {
  if (count > WORDS_LOOP_MAX) into.set(from.subarray(at, at + count), start)
  else for (let i = 0; i < count; i++) into[start + i] = from[at + i] as number
}
