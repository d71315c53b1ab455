/**
 * Numbers that a kernel is free to choose (refs, ports, descriptors), as names in the order in
 * which they appeared: two runs are equal when the same thing has the same name, and a number that
 * comes back is seen to come back.
 */
export class Names {
  readonly #names = new Map<string, Map<number, string>>()

  /** `kind` tells apart what is numbered apart: the refs of each domain, the ports of each. */
  name(kind: string, number: number): string {
    const known = this.#names.get(kind) ?? new Map<number, string>()
    const name = known.get(number) ?? `${kind}${known.size}`
    this.#names.set(kind, known.set(number, name))
    return name
  }
}
