import {
  encodeDeallocGref,
  GNTALLOC_DEALLOC_GREF,
  GNTALLOC_SET_UNMAP_NOTIFY,
} from '../abi/gntalloc.ts'
import type { GrantName } from '../abi/gntdev.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { integerBetween } from '../base/arguments.ts'
import { closeDropped } from '../base/dropped.ts'
import { inspectAsText } from '../base/inspect.ts'
import { callDevice } from '../device-call.ts'
import { Anchor } from '../memory/anchor.ts'
import type { Address, Device, Memory } from '../platform.ts'
import { describeGrants } from './grant-name.ts'
import { type Pages, viewPages } from './pages.ts'
import { encodeNotification, type UnmapNotification } from './unmap-notification.ts'

/** As {@link UnmapNotification}, and on which page, since each has one of its own. */
export interface ShareNotification extends UnmapNotification {
  /** The page that the notification hangs on: that of `clearByte`, or 0, when left out. */
  readonly page?: number
}

/**
 * Pages of ours that another domain may map: grants.
 *
 * They stay granted until {@link unmap}; and as nobody can take a mapped page away, the peer's
 * mapping of them goes on after that, and the refs stay taken, until the peer unmaps too.
 */
export class Share {
  static {
    inspectAsText(Share.prototype)
  }

  /** One for each page, in order: plain JSON, to be sent to the peer by any road. */
  readonly grants: readonly GrantName[]
  /** The domain that may map them. */
  readonly to: number
  /** Whether it may write. We always may. */
  readonly writable: boolean
  readonly #pages: Pages
  readonly #device: Device
  readonly #memory: Memory
  readonly #anchor: Anchor<Pages>
  #bytes: Uint8Array | undefined

  constructor(init: {
    readonly grants: readonly GrantName[]
    readonly to: number
    readonly writable: boolean
    readonly pages: Pages
    readonly device: Device
    readonly memory: Memory
  }) {
    this.grants = init.grants
    this.to = init.to
    this.writable = init.writable
    this.#pages = init.pages
    this.#device = init.device
    this.#memory = init.memory
    this.#anchor = new Anchor(closeDropped, init.pages)
  }

  /**
   * The pages themselves, zeroed at first. A peer that may write is not to be trusted: what a
   * decision hangs on is read once.
   */
  get bytes(): Uint8Array {
    this.#pages.assertOpen()
    this.#bytes ??= viewPages(this.#memory, this.#pages, this.#anchor)
    return this.#bytes
  }

  /** Where they lie in this process. */
  get address(): Address {
    return this.#pages.address
  }

  /** The index in gntalloc: bytes, the offset for mmap. */
  get index(): number {
    return this.#pages.index
  }

  get isClosed(): boolean {
    return this.#pages.isClosed
  }

  /**
   * Arms what happens when the pages go, on {@link unmap} or with the process, also by SIGKILL:
   * first `clearByte`, then `sendEvent`. It happens although the peer still has them mapped, and
   * that is how the peer learns of it.
   *
   * Each page has one notification. A second call for the same page replaces the first wholly;
   * calls for different pages stand side by side. With neither `clearByte` nor `sendEvent` (or
   * both null) the notification of `page`, or those of all pages, are disarmed.
   *
   * @throws RangeError for a byte or page outside. XenError EINVAL when the port is not bound in
   * this domain; the old notification is then still armed.
   */
  notifyOnUnmap(notification: ShareNotification = {}): void {
    this.#pages.assertOpen()
    const { clearByte, sendEvent } = notification
    const page = this.#pageOf(notification)
    const isArming = (clearByte ?? sendEvent ?? undefined) !== undefined
    const first = page ?? 0
    const last = page === undefined && !isArming ? this.#pages.count - 1 : first
    for (let i = first; i <= last; i++) {
      // A byte brings its own page with it; an event alone hangs on the page that was chosen.
      const base = this.index + ((clearByte ?? undefined) === undefined ? i * PAGE_SIZE : 0)
      const argument = encodeNotification(base, this.#pages.count, notification)
      const facts = sendEvent ? { port: sendEvent.port } : {}
      callDevice(this.#device, GNTALLOC_SET_UNMAP_NOTIFY, argument, facts)
    }
  }

  /**
   * Takes the pages back: no new mapping of them, our own goes, notifications fire. Bytes that
   * somebody still holds read zeroes from now on and reach nobody. Idempotent.
   */
  unmap(): void {
    this.#bytes = undefined
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
    if (this.isClosed) return `Share <${names}, closed>`
    return `Share <${names} to domain ${this.to}, ${this.#pages.describe(this.writable)}>`
  }

  #pageOf({ clearByte, page }: ShareNotification): number | undefined {
    const count = this.#pages.count
    if (page !== undefined) integerBetween('page', page, 0, count - 1)
    if (clearByte === undefined || clearByte === null) return page
    integerBetween('clearByte', clearByte, 0, count * PAGE_SIZE - 1)
    const ofByte = Math.floor(clearByte / PAGE_SIZE)
    if (page !== undefined && page !== ofByte) {
      throw new RangeError(`clearByte ${clearByte} lies in page ${ofByte}, not in page ${page}`)
    }
    return ofByte
  }
}

/** DEALLOC_GREF for a whole share. */
export function deallocShare(device: Device, index: number, count: number): number {
  return device.ioctl(GNTALLOC_DEALLOC_GREF, encodeDeallocGref({ index, count }))
}
