import { NumberPool } from '../hypervisor/number-pool.ts'
import type { OpenFile } from './open-file.ts'

/** Standard input, output and error are taken. */
const FIRST_DESCRIPTOR = 3

/** The descriptor table of a process: the lowest free number is used. */
export class Descriptors {
  readonly #numbers: NumberPool
  readonly #files: Map<number, OpenFile>

  constructor(
    numbers: NumberPool = new NumberPool(FIRST_DESCRIPTOR),
    files: Map<number, OpenFile> = new Map(),
  ) {
    this.#numbers = numbers
    this.#files = files
  }

  get(fd: number): OpenFile | undefined {
    return this.#files.get(fd)
  }

  /** Descriptors in use. */
  get size(): number {
    return this.#files.size
  }

  /** A new descriptor of `file`. */
  add(file: OpenFile): number {
    const fd = this.#numbers.take()
    this.#files.set(fd, file)
    file.hold()
    return fd
  }

  /** Takes the descriptor out; its reference is now the caller's to drop. */
  remove(fd: number): OpenFile | undefined {
    const file = this.#files.get(fd)
    if (!file) return undefined
    this.#files.delete(fd)
    this.#numbers.put(fd)
    return file
  }

  /** The same numbers for the same files: a forked child's. */
  copy(): Descriptors {
    for (const file of this.#files.values()) file.hold()
    return new Descriptors(this.#numbers.copy(), new Map(this.#files))
  }

  /** Numbers in use, lowest first. */
  numbers(): number[] {
    return [...this.#files.keys()].sort((a, b) => a - b)
  }
}
