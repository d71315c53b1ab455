import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import { createMemfd } from '../memory/memfd.ts'
import {
  addSeals,
  close,
  F_SEAL_FUTURE_WRITE,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
} from '../native/files.ts'
import { mmap, munmap } from '../native/mappings.ts'
import { viewMemory } from '../native/view.ts'

/**
 * A file mapping of this room's own: what host and client keep for themselves and never hand to a
 * user, so that nobody can hold a view of it after `close()`.
 */
export class SharedFile {
  readonly fd: number
  readonly bytes: Uint8Array
  readonly words: Uint32Array
  readonly #address: number
  #isOpen = true

  constructor(fd: number, address: number, length: number) {
    const buffer = viewMemory(address, length)
    this.fd = fd
    this.#address = address
    this.bytes = new Uint8Array(buffer)
    this.words = new Uint32Array(buffer)
  }

  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    munmap(this.#address, this.bytes.byteLength)
    close(this.fd)
  }
}

export type Memfd = SharedFile

/** Maps a descriptor, which becomes the mapping's. On refusal it is closed. */
export function mapFile(fd: number, length: number, writable: boolean): SharedFile | number {
  const prot = writable ? PROT_READ | PROT_WRITE : PROT_READ
  const address = mmap(0, length, prot, MAP_SHARED, fd, 0)
  if (address >= 0) return new SharedFile(fd, address, length)
  close(fd)
  return address
}

/**
 * Zeroed memory that can neither shrink nor grow: a mapper never meets SIGBUS. With F_SEAL_SEAL as
 * `seals` nobody who gets the descriptor can forbid the others to map it.
 */
export function sealedMemfd(name: string, length: number, seals = 0): Memfd | number {
  const fd = createMemfd({ name, length, seals: F_SEAL_SHRINK | F_SEAL_GROW | seals })
  return fd < 0 ? fd : mapFile(fd, length, true)
}

/** The same, writable for us alone: whoever gets the descriptor can only map it to read. */
export function readOnlyMemfd(name: string, length: number): Memfd | number {
  const made = sealedMemfd(name, length)
  if (typeof made === 'number') return made
  const result = addSeals(made.fd, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
  if (result >= 0) return made
  made.close()
  return result
}
