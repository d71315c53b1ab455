import { ERRNO } from '../abi/errno.ts'
import { EVTCHN_IO_MAX, PORT_SIZE } from '../abi/evtchn.ts'
import { DenseMap } from '../base/dense-map.ts'
import type { KernelRules } from './profiles.ts'

/** Entries at the first bind; doubled whenever more ports are bound than there are entries. */
const RING_ENTRIES_FIRST = 64
/** A page of entries, where the ring does not grow. */
const RING_ENTRIES_FIXED = 1024

/**
 * The two bits of a port: MASKED from its delivery until it is written back, PENDING when it was
 * sent to meanwhile. Inside one process they are plain numbers (`LocalPortBits`), between processes
 * they are a word of shared memory that the sender changes too.
 *
 *      send                    write-back
 *      idle ──────► MASKED ──────────────► idle
 *                     │ send                ▲
 *                     ▼                     │ read, write-back
 *                 MASKED+PENDING ──► delivered again: MASKED
 */
export interface PortBits {
  /** The ring's own: false from the event's arrival until the port is written back. */
  enabled: boolean
  /** An event is sent: true when the owner must be told of it, since the port was idle. */
  send(): boolean
  /** The port is written back: true when an event was pending, which is delivered by this. */
  unmask(): boolean
}

export const PORT_MASKED = 1
export const PORT_PENDING = 2

/** The bits of a port whose sender lives in the same process. */
export class LocalPortBits implements PortBits {
  enabled = true
  #word = 0

  send(): boolean {
    if (this.#word === 0) {
      this.#word = PORT_MASKED
      return true
    }
    this.#word |= PORT_PENDING
    return false
  }

  unmask(): boolean {
    if ((this.#word & PORT_PENDING) !== 0) {
      this.#word = PORT_MASKED
      return true
    }
    this.#word = 0
    return false
  }
}

/**
 * What a descriptor of /dev/xen/evtchn keeps between an event and its reader: the ring of port
 * numbers and which ports may enter it. A one-shot edge protocol: a port is queued once, then
 * silent until it is written back. Source: drivers/xen/evtchn.c (Linux 6.12.117);
 * cases 187 to 194, 215 to 218, 256 to 265.
 */
export class EventRing<Bits extends PortBits = PortBits> {
  readonly #ports = new DenseMap<Bits>()
  readonly #grows: boolean
  #ring: Uint32Array
  #prod = 0
  #cons = 0
  #overflow = false
  readonly #wake: () => void

  /** `wake` is called when the ring turns from empty to readable, or overflows. */
  constructor({ ringGrows }: Pick<KernelRules, 'ringGrows'>, wake: () => void) {
    this.#grows = ringGrows
    this.#ring = new Uint32Array(ringGrows ? 0 : RING_ENTRIES_FIXED)
    this.#wake = wake
  }

  get portCount(): number {
    return this.#ports.size
  }

  ports(): Generator<number> {
    return this.#ports.keys()
  }

  /** The bits of a port that is bound. */
  get(port: number): Bits | undefined {
    return this.#ports.get(port)
  }

  /** Takes a port in, enabled. A ring that grows keeps what is in it. */
  bind(port: number, bits: Bits): void {
    this.#ports.set(port, bits)
    if (this.#grows && this.#ports.size > this.#ring.length) this.#grow()
  }

  /** Lets a port go; entries of it that are already in the ring stay (case 215). */
  unbind(port: number): void {
    this.#ports.delete(port)
  }

  /** The interrupt of a port: its event enters the ring unless it waits for a write-back. */
  arrived(port: number): void {
    const bound = this.#ports.get(port)
    if (!bound?.enabled) return
    bound.enabled = false
    if (this.#prod - this.#cons >= this.#ring.length) {
      this.#overflow = true
      this.#wake()
      return
    }
    const wasEmpty = this.#prod === this.#cons
    this.#ring[this.#prod % this.#ring.length] = port
    this.#prod++
    if (wasEmpty) this.#wake()
  }

  /** Whether poll(2) reports POLLIN, and POLLERR: an overflow hides the entries. */
  get isReadable(): boolean {
    return !this.#overflow && this.#prod !== this.#cons
  }

  get hasOverflowed(): boolean {
    return this.#overflow
  }

  /** Fills `into` with the oldest ports, as u32; bytes, -EFBIG after an overflow, -EAGAIN. */
  read(into: Uint8Array): number {
    const wanted = Math.min(into.byteLength, EVTCHN_IO_MAX) >> 2
    if (this.#overflow) return wanted === 0 ? 0 : -ERRNO.EFBIG
    if (wanted === 0) return 0
    const count = Math.min(wanted, this.#prod - this.#cons)
    if (count === 0) return -ERRNO.EAGAIN
    for (let i = 0; i < count; i++) {
      const port = this.#ring[this.#cons % this.#ring.length] ?? 0
      for (let byte = 0; byte < PORT_SIZE; byte++) into[4 * i + byte] = port >>> (8 * byte)
      this.#cons++
    }
    return count * PORT_SIZE
  }

  /** Writes ports back; unknown ones and ones that wait for nothing are ignored. Bytes taken. */
  write(from: Uint8Array): number {
    const count = Math.min(from.byteLength, EVTCHN_IO_MAX) >> 2
    for (let i = 0; i < count; i++) {
      const at = 4 * i
      const port =
        ((from[at] ?? 0) |
          ((from[at + 1] ?? 0) << 8) |
          ((from[at + 2] ?? 0) << 16) |
          ((from[at + 3] ?? 0) << 24)) >>>
        0
      this.#writeBack(port)
    }
    return count * PORT_SIZE
  }

  /** RESET: the ring is emptied; what was waiting for a write-back still does (case 216). */
  reset(): void {
    this.#prod = 0
    this.#cons = 0
    this.#overflow = false
  }

  #writeBack(port: number): void {
    const bound = this.#ports.get(port)
    if (!bound || bound.enabled) return
    bound.enabled = true
    if (bound.unmask()) this.arrived(port)
  }

  #grow(): void {
    const bigger = new Uint32Array(Math.max(RING_ENTRIES_FIRST, this.#ring.length * 2))
    const count = this.#prod - this.#cons
    for (let i = 0; i < count; i++) {
      bigger[i] = this.#ring[(this.#cons + i) % this.#ring.length] ?? 0
    }
    this.#ring = bigger
    this.#cons = 0
    this.#prod = count
  }
}
