import { ERRNO } from '../abi/errno.ts'
import { NumberPool } from '../hypervisor/number-pool.ts'
import type { OpenFile } from './open-file.ts'

/** Standard input, output and error are taken. */
const FIRST_DESCRIPTOR = 3
/** The usual hard limit of RLIMIT_NOFILE under systemd. */
const DESCRIPTORS_MAX = 524288

/** The descriptor table of a process: the lowest free number is used. */
export class Descriptors {
  readonly #numbers = new NumberPool(FIRST_DESCRIPTOR)
  readonly #files = new Map<number, OpenFile>()

  get(fd: number): OpenFile | undefined {
    return this.#files.get(fd)
  }

  /** A new descriptor of `file`, or -EMFILE. */
  add(file: OpenFile): number {
    if (this.#numbers.peek() >= DESCRIPTORS_MAX) return -ERRNO.EMFILE
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
