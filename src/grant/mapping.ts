import { GNTDEV_SET_UNMAP_NOTIFY, type GrantName } from '../abi/gntdev.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { closeDropped } from '../base/dropped.ts'
import { inspectAsText } from '../base/inspect.ts'
import { callDevice } from '../device-call.ts'
import { Anchor } from '../memory/anchor.ts'
import { ReadOnlyBytes } from '../memory/read-only.ts'
import type { Address, Device, Memory } from '../platform.ts'
import { describeGrants } from './grant-name.ts'
import { type Pages, viewPages } from './pages.ts'
import { encodeNotification, type UnmapNotification } from './unmap-notification.ts'

/**
 * What `map` answers without `writable: true`: no `bytes`, since a store into read-only memory ends
 * the process with SIGSEGV. Read with the calls below.
 */
export type ReadOnlyMapping = Omit<Mapping, 'bytes'>

/**
 * Pages of other domains, mapped here one behind the other.
 *
 * The granter cannot take them away: they stay, with what is in them, when it revokes them, dies
 * or is destroyed, until {@link unmap}.
 */
export class Mapping {
  static {
    inspectAsText(Mapping.prototype)
  }

  /** What is mapped, in order. */
  readonly grants: readonly GrantName[]
  readonly writable: boolean
  readonly #pages: Pages
  readonly #device: Device
  readonly #anchor: Anchor<Pages>
  readonly #reader: ReadOnlyBytes

  constructor(init: {
    readonly grants: readonly GrantName[]
    readonly writable: boolean
    readonly pages: Pages
    readonly device: Device
    readonly memory: Memory
  }) {
    this.grants = init.grants
    this.writable = init.writable
    this.#pages = init.pages
    this.#device = init.device
    const { memory, pages } = init
    const anchor = new Anchor(closeDropped, pages)
    const view = () => viewPages(memory, pages, anchor)
    this.#anchor = anchor
    this.#reader = new ReadOnlyBytes(pages.what, pages.count * PAGE_SIZE, view)
  }

  /**
   * The pages themselves; what a decision hangs on is read once, since the peer writes too.
   *
   * @throws TypeError on a read-only mapping.
   */
  get bytes(): Uint8Array {
    const reader = this.#open()
    if (this.writable) return reader.unsafeBytes()
    throw new TypeError(
      'a read-only mapping has no bytes, since a store into them would end the process: use ' +
        'copyTo, slice, u8 to u64, or unsafeBytes(), or map with { writable: true }',
    )
  }

  /** Where the pages lie in this process. */
  get address(): Address {
    return this.#pages.address
  }

  /** The index in gntdev: bytes. */
  get index(): number {
    return this.#pages.index
  }

  /** Bytes: 4096 for each grant. */
  get byteLength(): number {
    return this.#reader.length
  }

  get isClosed(): boolean {
    return this.#pages.isClosed
  }

  /** Copies bytes `from` to `to` (all, if left out) to the start of `target`; answers how many. */
  copyTo(target: Uint8Array, from = 0, to: number = this.byteLength): number {
    return this.#open().copyTo(target, from, to)
  }

  /** A copy of bytes `from` to `to`. */
  slice(from = 0, to: number = this.byteLength): Uint8Array {
    return this.#open().slice(from, to)
  }

  /** One byte at a byte offset, loaded once. */
  u8(offset: number): number {
    return this.#open().u8(offset)
  }

  /** Two bytes, little endian. At an offset that 2 divides the load is atomic. */
  u16(offset: number): number {
    return this.#open().u16(offset)
  }

  /** Four bytes, little endian. At an offset that 4 divides the load is atomic. */
  u32(offset: number): number {
    return this.#open().u32(offset)
  }

  /** Eight bytes, little endian. At an offset that 8 divides the load is atomic. */
  u64(offset: number): bigint {
    return this.#open().u64(offset)
  }

  /** The pages themselves, even if they are read-only: a store then ends the process. */
  unsafeBytes(): Uint8Array {
    return this.#open().unsafeBytes()
  }

  /**
   * Arms what happens when the mapping goes, on {@link unmap} or with the process, also by SIGKILL:
   * first `clearByte`, then `sendEvent`. The granter sees the byte and gets the event.
   *
   * A mapping has one notification, however many pages it has: a second call replaces the first
   * wholly. With neither `clearByte` nor `sendEvent` (or both null) it is disarmed.
   *
   * @throws RangeError for a byte outside, TypeError for `clearByte` on a read-only mapping.
   * XenError EINVAL when the port is not bound in this domain; the old one is then still armed.
   */
  notifyOnUnmap(notification: UnmapNotification = {}): void {
    this.#pages.assertOpen()
    const { clearByte, sendEvent } = notification
    if (!this.writable && clearByte !== undefined && clearByte !== null) {
      throw new TypeError(
        'clearByte needs a writable mapping: the kernel clears the byte through it, and Linux ' +
          'oopses when it cannot; map with { writable: true } or use sendEvent alone',
      )
    }
    const argument = encodeNotification(this.index, this.#pages.count, notification)
    const facts = sendEvent ? { port: sendEvent.port } : {}
    callDevice(this.#device, GNTDEV_SET_UNMAP_NOTIFY, argument, facts)
  }

  /**
   * Unmaps; notifications fire. Bytes that somebody still holds read zeroes from now on and reach
   * nobody. Idempotent.
   */
  unmap(): void {
    this.#reader.release()
    this.#anchor.dismiss()
    this.#pages.close()
  }

  /** The same as {@link unmap}. */
  close(): void {
    this.unmap()
  }

  [Symbol.dispose](): void {
    this.unmap()
  }

  toString(): string {
    const names = describeGrants(this.grants)
    if (this.isClosed) return `Mapping <${names}, closed>`
    return `Mapping <${names}, ${this.#pages.describe(this.writable)}>`
  }

  #open(): ReadOnlyBytes {
    this.#pages.assertOpen()
    return this.#reader
  }
}
