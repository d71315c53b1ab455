/**
 * Checks of what a caller passed. A mistake here is a bug of the program, so the errors are plain
 * TypeError and RangeError without a code: nobody should handle them.
 */

/** Passes an integer through; otherwise a RangeError with the range and the value. */
export function integerBetween(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number') {
    throw new TypeError(`${name} must be a number, got ${described(value)}`)
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${name} must be an integer from ${min} to ${max}, got ${value}`)
  }
  return value
}

/** `'a string'`, `'null'`, `'an array'`: for the end of a TypeError. */
export function described(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return 'an array'
  const type = typeof value
  return type === 'object' ? 'an object' : `a ${type}`
}
