import type { Random } from '../base/random.ts'

/** Choices of a generator, from one source of randomness. */
export class Dice {
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  /** From 0 up to, not including, `end`. */
  below(end: number): number {
    return end <= 0 ? 0 : this.#random() % end
  }

  /** True in `percent` of a hundred times. */
  chance(percent: number): boolean {
    return this.below(100) < percent
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)]
  }

  /** One of a list that is never empty. */
  of<T>(...from: readonly [T, ...T[]]): T {
    return from[this.below(from.length)] ?? from[0]
  }

  /** One of the last few, where the newest are the most interesting. */
  recent<T>(from: readonly T[], few = 4): T | undefined {
    return this.pick(this.chance(80) ? from.slice(-few) : from)
  }

  /** One of a list of weights and values. */
  weighted<T>(from: readonly (readonly [number, T])[]): T | undefined {
    let left = this.below(from.reduce((sum, [weight]) => sum + weight, 0))
    for (const [weight, value] of from) {
      if (left < weight) return value
      left -= weight
    }
    return undefined
  }
}
