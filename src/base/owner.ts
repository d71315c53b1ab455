import { ClosedError } from './errors.ts'

/** Anything that an {@link Owner} can close. */
export interface Closable {
  close(): void
}

/**
 * A node of the tree Platform → Device → Share, Mapping, Port. Closing it closes what it owns,
 * newest first, and tells of every failure; a child leaves its owner when it is closed by itself.
 *
 * Node 20 has no DisposableStack; this is the part of it that we need.
 */
export class Owner {
  readonly #what: string
  readonly #children = new Set<Closable>()
  #closed = false

  constructor(what: string) {
    this.#what = what
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** Throws a {@link ClosedError} once closed: the first line of every public call. */
  assertOpen(): void {
    if (this.#closed) throw new ClosedError(this.#what)
  }

  adopt<T extends Closable>(child: T): T {
    this.assertOpen()
    this.#children.add(child)
    return child
  }

  release(child: Closable): void {
    this.#children.delete(child)
  }

  /** Closes the children, newest first. The second call does nothing. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    const failures: unknown[] = []
    for (const child of [...this.#children].reverse()) {
      try {
        child.close()
      } catch (error) {
        failures.push(error)
      }
    }
    this.#children.clear()
    if (failures.length === 1) throw failures[0]
    if (failures.length > 1) throw new AggregateError(failures, `closing ${this.#what} failed`)
  }
}
