import { NumberPool } from '../hypervisor/number-pool.ts'
import type { OpenFile } from './open-file.ts'

/** Standard input, output and error are taken. */
const FIRST_DESCRIPTOR = 3

/** The descriptor table of a process: the lowest free number is used. */
export class Descriptors {
  readonly #numbers = new NumberPool(FIRST_DESCRIPTOR)
  readonly #files = new Map<number, OpenFile>()

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

  /** Numbers in use, lowest first. */
  numbers(): number[] {
    return [...this.#files.keys()].sort((a, b) => a - b)
  }
}
