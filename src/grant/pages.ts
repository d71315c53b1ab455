import { PAGE_SIZE } from '../abi/page.ts'
import type { Dropped } from '../base/dropped.ts'
import { ClosedError, type XenError } from '../base/errors.ts'
import type { Owner } from '../base/owner.ts'
import type { Anchor } from '../memory/anchor.ts'
import type { Address, Memory } from '../platform.ts'

/**
 * Pages that are shared or mapped, as the connection owns them. It refers neither to the object
 * that the program holds nor to its bytes, so that both can be collected and released through it.
 */
export class Pages implements Dropped {
  readonly address: Address
  /** The driver's index: the offset for mmap, in bytes. */
  readonly index: number
  readonly count: number
  readonly what: string
  readonly #owner: Owner
  readonly #release: readonly (() => XenError | undefined)[]
  #closed = false

  constructor(init: {
    readonly address: Address
    readonly index: number
    readonly count: number
    /** `'share of 1:8'`: for errors. */
    readonly what: string
    readonly owner: Owner
    /** Steps of the release, each run whatever the ones before it said. */
    readonly release: readonly (() => XenError | undefined)[]
  }) {
    this.address = init.address
    this.index = init.index
    this.count = init.count
    this.what = init.what
    this.#owner = init.owner
    this.#release = init.release
  }

  get isClosed(): boolean {
    return this.#closed
  }

  assertOpen(): void {
    if (this.#closed) throw new ClosedError(this.what)
  }

  /** `'2 pages writable at 0x7f0000000000, index 8192'` */
  describe(writable: boolean): string {
    const pages = this.count === 1 ? '1 page' : `${this.count} pages`
    const access = writable ? 'writable' : 'read-only'
    return `${pages} ${access} at 0x${this.address.toString(16)}, index ${this.index}`
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#owner.release(this)
    let first: XenError | undefined
    for (const step of this.#release) {
      const failure = step()
      first ??= failure
    }
    if (first) throw first
  }
}

/**
 * The bytes of pages, which are released no sooner than the bytes are gone. Made when first asked
 * for: pages that nobody looked at can be given back without a trace.
 */
export function viewPages(memory: Memory, pages: Pages, anchor: Anchor<unknown>): Uint8Array {
  const bytes = memory.view(pages.address, pages.count * PAGE_SIZE)
  anchor.hold(bytes.buffer)
  return bytes
}
