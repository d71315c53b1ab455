// Taken before a test of a user's can put a clock of its own in its place.
const { bigint } = process.hrtime

/** CLOCK_MONOTONIC, which all processes of a system share that have no time namespace. */
export function nanoseconds(): number {
  return Number(bigint())
}
