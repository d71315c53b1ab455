import { PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Address, Result } from '../platform.ts'
import type { Puppet } from './puppet.ts'
import type { Fault } from './puppet-protocol.ts'

/** Pages in the address space of a puppet: a mapping of a device, or plain memory. */
export class Region {
  readonly puppet: Puppet
  readonly address: Address
  readonly pages: number

  constructor(puppet: Puppet, address: Address, pages: number) {
    this.puppet = puppet
    this.address = address
    this.pages = pages
  }

  /** A part of it, counted in pages. */
  part(firstPage: number, pages: number): Region {
    return new Region(this.puppet, this.address + firstPage * PAGE_SIZE, pages)
  }

  bytes(offset: number, length: number): Promise<Uint8Array> {
    return this.puppet.peek(this.address + offset, length)
  }

  async byte(offset: number): Promise<number> {
    const [value] = await this.bytes(offset, 1)
    return value ?? Number.NaN
  }

  /** Stores bytes; a region without PROT_WRITE would end the puppet by SIGSEGV. */
  async store(offset: number, ...bytes: number[]): Promise<void> {
    await this.puppet.poke(this.address + offset, Uint8Array.from(bytes))
  }

  async storeBytes(offset: number, bytes: Uint8Array): Promise<void> {
    await this.puppet.poke(this.address + offset, bytes)
  }

  /** The byte, or the signal that loading it ends in; needs `fault`. */
  load(offset: number): Promise<number | Fault> {
    return this.puppet.load(this.address + offset)
  }

  /** What storing a byte ends in; needs `fault`. */
  tryStore(offset: number, byte: number): Promise<'stored' | Fault> {
    return this.puppet.store(this.address + offset, byte)
  }

  /** The same addresses in a forked child, which may have inherited what is there. */
  in(child: Puppet): Region {
    return new Region(child, this.address, this.pages)
  }

  /** The same pages at the address where mremap put them. */
  at(address: Address, pages: number = this.pages): Region {
    return new Region(this.puppet, address, pages)
  }

  munmap(): Promise<Result> {
    return this.puppet.munmap(this.address, this.pages * PAGE_SIZE)
  }

  protect(prot: number): Promise<Result> {
    return this.puppet.protect(this.address, this.pages * PAGE_SIZE, prot)
  }

  /** Puts anonymous memory over it, as mmap with MAP_FIXED does. */
  replace(): Promise<Address | Result> {
    return this.puppet.alloc(this.pages * PAGE_SIZE, this.address)
  }
}

export const PROT_RW: number = PROT_READ | PROT_WRITE
