/** Seeded randomness: one seed, one run. Numbers are in [0, 2^32). */
export type Random = () => number

/** mulberry32: 32 bits of state, good enough to place pages and pick orders. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
}
