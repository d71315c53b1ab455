import {
  ENTRIES_PER_FRAME,
  GTF_PERMIT_ACCESS,
  GTF_READING,
  GTF_READONLY,
  GTF_TYPE_MASK,
  GTF_WRITING,
  PIN_LIMIT,
} from '../abi/grant-table.ts'
import type { HypervisorLimits } from './limits.ts'
import type { Frame } from './page-store.ts'

/**
 * The grant table of one domain, version 1: what the guest wrote into the shared entries, and what
 * Xen keeps beside them in its active entries.
 *
 *      flags   | domid | frame  | read pins | write pins | pinner
 *      u16     | u16   | u32    | u8        | u8         | u16
 *     └── shared with the guest ┘└── Xen's own, common/grant_table.c ─┘
 *
 * Flat arrays, since a million entries must cost what one costs.
 */
export class GrantTable {
  readonly #limits: HypervisorLimits
  #frames = 1
  #flags = new Uint16Array(ENTRIES_PER_FRAME)
  #domids = new Uint16Array(ENTRIES_PER_FRAME)
  #pages = new Uint32Array(ENTRIES_PER_FRAME)
  #readPins = new Uint8Array(ENTRIES_PER_FRAME)
  #writePins = new Uint8Array(ENTRIES_PER_FRAME)
  #pinners = new Uint16Array(ENTRIES_PER_FRAME)

  constructor(limits: HypervisorLimits) {
    this.#limits = limits
  }

  /** Entries: every valid ref is below this. */
  get size(): number {
    return this.#frames * ENTRIES_PER_FRAME
  }

  /** Adds a frame of entries; false at the domain's limit. */
  grow(): boolean {
    if (this.#frames >= this.#limits.maxGrantFrames) return false
    this.#frames++
    if (this.size > this.#flags.length) this.#reserve(this.#flags.length * 2)
    return true
  }

  /** The guest's part: entry `ref` lets `domid` use `frame`. */
  grant(ref: number, domid: number, frame: Frame, readonly: boolean): void {
    this.#domids[ref] = domid
    this.#pages[ref] = frame
    this.#flags[ref] = GTF_PERMIT_ACCESS | (readonly ? GTF_READONLY : 0)
  }

  /**
   * The guest's part: revokes the entry. False while it is in use: version 1 then leaves it as it
   * is, that is open (gnttab_end_foreign_access_ref_v1; case 59).
   */
  end(ref: number): boolean {
    if (this.isInUse(ref)) return false
    this.#flags[ref] = 0
    return true
  }

  isGranted(ref: number): boolean {
    return ((this.#flags[ref] ?? 0) & GTF_TYPE_MASK) === GTF_PERMIT_ACCESS
  }

  isInUse(ref: number): boolean {
    return ((this.#flags[ref] ?? 0) & (GTF_READING | GTF_WRITING)) !== 0
  }

  flags(ref: number): number {
    return this.#flags[ref] ?? 0
  }

  grantee(ref: number): number {
    return this.#domids[ref] ?? 0
  }

  frame(ref: number): Frame {
    return this.#pages[ref] ?? 0
  }

  pins(ref: number): number {
    return (this.#readPins[ref] ?? 0) + (this.#writePins[ref] ?? 0)
  }

  /**
   * Whether `mapper` may take one more pin (map_grant_ref and _set_status_v1). While the entry is
   * pinned, a pin that needs no new right is not checked against the entry again: what was revoked
   * stays mappable for as long as it is mapped.
   */
  admits(ref: number, mapper: number, writable: boolean): boolean {
    if (this.pins(ref) > 0) {
      if (this.#pinners[ref] !== mapper) return false
      const count = (writable ? this.#writePins[ref] : this.#readPins[ref]) ?? 0
      if (count >= PIN_LIMIT) return false
      if (!writable || (this.#writePins[ref] ?? 0) > 0) return true
    }
    if (!this.isGranted(ref) || this.#domids[ref] !== mapper) return false
    return !writable || (this.flags(ref) & GTF_READONLY) === 0
  }

  /** Takes a pin that {@link admits} allowed, and shows the guest that the entry is in use. */
  pin(ref: number, mapper: number, writable: boolean): void {
    this.#pinners[ref] = mapper
    const pins = writable ? this.#writePins : this.#readPins
    pins[ref] = (pins[ref] ?? 0) + 1
    this.#flags[ref] = this.flags(ref) | GTF_READING | (writable ? GTF_WRITING : 0)
  }

  /** Drops a pin; the bits go with the last writer and the last pin. */
  unpin(ref: number, writable: boolean): void {
    const pins = writable ? this.#writePins : this.#readPins
    pins[ref] = (pins[ref] ?? 0) - 1
    let flags = this.flags(ref)
    if (this.#writePins[ref] === 0) flags &= ~GTF_WRITING
    if (this.pins(ref) === 0) flags &= ~GTF_READING
    this.#flags[ref] = flags
  }

  #reserve(size: number): void {
    this.#flags = widened(this.#flags, new Uint16Array(size))
    this.#domids = widened(this.#domids, new Uint16Array(size))
    this.#pages = widened(this.#pages, new Uint32Array(size))
    this.#readPins = widened(this.#readPins, new Uint8Array(size))
    this.#writePins = widened(this.#writePins, new Uint8Array(size))
    this.#pinners = widened(this.#pinners, new Uint16Array(size))
  }
}

/** Moves the content of a flat array into a longer one. */
export function widened<T extends Uint8Array | Uint16Array | Uint32Array | Int32Array>(
  from: T,
  into: T,
): T {
  into.set(from)
  return into
}
