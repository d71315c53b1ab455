import assert from 'node:assert/strict'
import type { DeviceName } from '../abi/devices.ts'
import { MAP_SHARED } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Access, Address, Readiness, Result } from '../platform.ts'
import type { IoctlAnswer, Puppet } from './puppet.ts'
import { PROT_RW, Region } from './region.ts'
import { ok } from './verdict.ts'

/** How a case opens a device: readable, writable and never blocking unless it says otherwise. */
export interface OpenedOptions {
  readonly on?: Puppet
  readonly access?: Access
  /** Lets a read wait. */
  readonly blocking?: boolean
}

/** How a case maps: shared, readable and writable unless it says otherwise. */
export interface MappingOptions {
  readonly prot?: number
  readonly flags?: number
  readonly at?: Address
  /** Bytes, where a case wants another length than its pages have. */
  readonly length?: number
}

/** What the verbs of all three devices share. */
export interface OpenedFacts {
  readonly puppet: Puppet
  readonly fd: number
  readonly name: DeviceName
  /** Its domain: what a grant of it and a loopback channel name. */
  readonly domid: number
  /** Whom it grants pages to unless a case says otherwise. */
  readonly grantee: number
  readonly watchdogMs: number
  settle(ms: number): Promise<void>
}

/**
 * An open descriptor of a puppet. The verbs answer as the seam does; those that say so in their
 * comment assert success themselves, for the steps of a case that are not its subject.
 */
export class Opened {
  readonly facts: OpenedFacts
  readonly puppet: Puppet
  readonly fd: number

  constructor(facts: OpenedFacts) {
    this.facts = facts
    this.puppet = facts.puppet
    this.fd = facts.fd
  }

  ioctl(number: number, bytes?: Uint8Array): Promise<IoctlAnswer> {
    return this.puppet.ioctl(this.fd, number, bytes)
  }

  /** ioctl whose argument lies at an address of the puppet, or where nothing is. */
  ioctlAt(number: number, address: Address): Promise<Result> {
    return this.puppet.ioctlAt(this.fd, number, address)
  }

  /** `pages` pages from byte `offset` of the device on. */
  mmap(offset: number, pages = 1, options: MappingOptions = {}): Promise<Address | Result> {
    const { prot = PROT_RW, flags = MAP_SHARED, length = pages * PAGE_SIZE, at } = options
    const placed = at === undefined ? {} : { at }
    return this.puppet.mmap(this.fd, { offset, length, prot, flags, ...placed })
  }

  /** The same, asserting success. */
  async region(offset: number, pages = 1, options: MappingOptions = {}): Promise<Region> {
    return new Region(this.puppet, await ok(this.mmap(offset, pages, options)), pages)
  }

  read(length: number): Promise<IoctlAnswer> {
    return this.puppet.read(this.fd, length)
  }

  write(bytes: Uint8Array): Promise<Result> {
    return this.puppet.write(this.fd, bytes)
  }

  poll(): Promise<Readiness> {
    return this.puppet.poll(this.fd)
  }

  close(): Promise<void> {
    return this.puppet.close(this.fd)
  }

  /** The same descriptor in a forked child, which inherited it. */
  in(child: Puppet): this {
    const Same = this.constructor as new (facts: OpenedFacts) => this
    return new Same({ ...this.facts, puppet: child })
  }

  /** The number of a second descriptor of the same open file; asserts success. */
  protected async dupFd(): Promise<number> {
    const fd = await ok(this.puppet.dup(this.fd))
    assert.notEqual(fd, this.fd)
    return fd
  }
}
