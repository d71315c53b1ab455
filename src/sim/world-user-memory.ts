import { isReadable } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { PageStore } from '../hypervisor/page-store.ts'
import type { Process } from '../kernel/process.ts'
import type { UserMemory } from '../kernel/user-memory.ts'
import type { Vma } from '../kernel/vma.ts'
import type { Address } from '../platform.ts'

/** Where the argument of a call with bytes lies: above any address that a program can name. */
export const ARGUMENT_ADDRESS: Address = 2 ** 47

/** The memory of a simulated process as its kernel reaches it, page by page. */
export class WorldUserMemory implements UserMemory {
  readonly #process: Process
  readonly #pages: PageStore
  /** Bytes of anonymous memory, which is no page of the machine. */
  readonly #anonymous: (address: Address, length: number) => Uint8Array
  readonly #argument: Uint8Array

  constructor(
    process: Process,
    pages: PageStore,
    anonymous: (address: Address, length: number) => Uint8Array,
    argument: Uint8Array = new Uint8Array(0),
  ) {
    this.#process = process
    this.#pages = pages
    this.#anonymous = anonymous
    this.#argument = argument
  }

  view(address: Address, length: number): Uint8Array | undefined {
    return this.read(address, length)
  }

  read(address: Address, length: number): Uint8Array | undefined {
    const argument = this.#inArgument(address, length)
    // Not slice(), which of a Buffer is no copy.
    if (argument) return new Uint8Array(argument)
    const bytes = new Uint8Array(length)
    const isWhole = this.#eachPage(address, length, 'load', (vma, at, done, size) => {
      bytes.set(this.#load(vma, at, size), done)
    })
    return isWhole ? bytes : undefined
  }

  write(address: Address, bytes: Uint8Array): boolean {
    const argument = this.#inArgument(address, bytes.byteLength)
    if (argument) {
      argument.set(bytes)
      return true
    }
    return this.#eachPage(address, bytes.byteLength, 'store', (vma, at, done, size) => {
      this.#store(vma, at, bytes.subarray(done, done + size))
    })
  }

  canAccess(address: Address, length: number, writable: boolean): boolean {
    if (this.#inArgument(address, length)) return true
    const { mapsBareFrames } = this.#process.domain.profile
    let isPinned = true
    const isWhole = this.#eachPage(address, length, writable ? 'store' : 'load', vma => {
      isPinned &&= isReadable(vma.prot) && !(vma.backing && mapsBareFrames)
    })
    return isWhole && isPinned
  }

  #inArgument(address: Address, length: number): Uint8Array | undefined {
    const start = address - ARGUMENT_ADDRESS
    if (start < 0 || start + length > this.#argument.byteLength) return undefined
    return this.#argument.subarray(start, start + length)
  }

  /** Visits the part in each page; false at the first where an access would be a fault. */
  #eachPage(
    address: Address,
    length: number,
    access: 'load' | 'store',
    visit: (vma: Vma, at: Address, done: number, size: number) => void,
  ): boolean {
    for (let done = 0; done < length; ) {
      const at = address + done
      const vma = this.#process.vma(at)
      if (!vma || vma.fault(at, access)) return false
      const size = Math.min(length - done, PAGE_SIZE - (at % PAGE_SIZE))
      visit(vma, at, done, size)
      done += size
    }
    return true
  }

  #load(vma: Vma, at: Address, size: number): Uint8Array {
    if (!vma.backing) return this.#anonymous(at, size)
    return this.#pages.read(vma.frameAt(at), at % PAGE_SIZE, size)
  }

  #store(vma: Vma, at: Address, bytes: Uint8Array): void {
    if (!vma.backing) this.#anonymous(at, bytes.byteLength).set(bytes)
    else if (!vma.discardsStores) this.#pages.write(vma.frameAt(at), at % PAGE_SIZE, bytes)
  }
}
