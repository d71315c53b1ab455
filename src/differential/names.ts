/**
 * Numbers that a kernel is free to choose (refs, ports, descriptors), as names in the order in
 * which they appeared: two runs are equal when the same thing has the same name, and a number that
 * comes back is seen to come back.
 */
export class Names {
  readonly #kinds = new Map<string, { readonly known: Map<number, string>; count: number }>()
  readonly #fleeting = new Set<string>()

  /** `kind` tells apart what is numbered apart: the refs of each domain, the ports of each. */
  name(kind: string, number: number): string {
    const names = this.#kind(kind)
    const name = names.known.get(number) ?? `${kind}.${names.count++}`
    names.known.set(number, name)
    return name
  }

  /** The name of a number that was given just now. */
  given(kind: string, number: number): string {
    if (this.#fleeting.has(kind)) this.#kind(kind).known.delete(number)
    return this.name(kind, number)
  }

  /** From now on no number of this kind is seen to come back: others give some back meanwhile. */
  neverAgain(kind: string): void {
    this.#fleeting.add(kind)
  }

  #kind(kind: string): { readonly known: Map<number, string>; count: number } {
    const names = this.#kinds.get(kind) ?? { known: new Map<number, string>(), count: 0 }
    this.#kinds.set(kind, names)
    return names
  }
}
