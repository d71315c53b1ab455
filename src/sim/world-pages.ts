import { closeSync } from 'node:fs'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { type ErrorFacts, XenError } from '../base/errors.ts'
import { frameRuns } from '../hypervisor/frame-runs.ts'
import { type Frame, type FrameRun, NO_FRAME, type PageStore } from '../hypervisor/page-store.ts'
import { createMemfd } from '../memory/memfd.ts'
import { type FilePart, Ranges } from '../memory/ranges.ts'

/** A sparse file: only what is touched takes memory. */
const FRAMES_MAX = 2 ** 24
/** Pages that the machine itself maps at once to reach a byte. */
const WINDOW_FRAMES = 64

/** What outlives a dropped world: its file, and the machine's own windows onto it. */
class Arena {
  readonly fd: number
  readonly ranges = new Ranges()
  #isOpen = true

  constructor() {
    this.fd = createMemfd({ name: 'interdom-world', length: FRAMES_MAX * PAGE_SIZE })
    if (this.fd < 0) throw new XenError(this.fd, 'memfd_create')
  }

  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.ranges.close()
    closeSync(this.fd)
  }
}

/** At module level: V8 drops a registry that nobody references. */
const dropped = new FinalizationRegistry<Arena>(arena => arena.close())

/**
 * The memory of a world: pages of one memfd, so that the same page can be mapped several times and
 * several pages side by side. Numbers are reused last in, first out, and zeroed when handed out.
 */
export class WorldPages implements PageStore {
  readonly #free: Frame[] = []
  readonly #windows = new Map<number, Uint8Array>()
  #next: Frame = 0
  #arena: Arena | undefined
  #lost: Frame | undefined

  allocate(count: number): FrameRun[] | ErrorFacts {
    const fresh = Math.max(0, count - this.#free.length)
    if (this.#next + fresh > FRAMES_MAX) {
      const used = this.#next - this.#free.length
      return {
        limit: 'limit of',
        limitValue: FRAMES_MAX,
        limitUnit: 'pages in a world',
        used,
        wanted: count,
      }
    }
    const frames = new Int32Array(count)
    for (let i = 0; i < count; i++) {
      const used = this.#free.pop()
      if (used !== undefined) this.#page(used).fill(0)
      frames[i] = used ?? this.#next++
    }
    return frameRuns(frames, count)
  }

  free(first: Frame, count: number): void {
    for (let i = 0; i < count; i++) this.#free.push(first + i)
  }

  clearByte(frame: Frame, offset: number): void {
    this.#page(frame)[offset] = 0
  }

  read(frame: Frame, offset: number, length: number): Uint8Array {
    return this.#page(frame).slice(offset, offset + length)
  }

  write(frame: Frame, offset: number, bytes: Uint8Array): void {
    this.#page(frame).set(bytes, offset)
  }

  /** The pages as parts of a file; those that a kernel has taken away are all the same one. */
  parts(runs: readonly FrameRun[]): FilePart[] {
    const { fd } = this.#open()
    return runs.flatMap(({ first, count }) => {
      const isLost = first === NO_FRAME
      const part = {
        fd,
        offset: (isLost ? this.#lostFrame : first) * PAGE_SIZE,
        length: (isLost ? 1 : count) * PAGE_SIZE,
      }
      return new Array<FilePart>(isLost ? count : 1).fill(part)
    })
  }

  close(): void {
    this.#windows.clear()
    this.#arena?.close()
  }

  /** A page that belongs to nobody. */
  get #lostFrame(): Frame {
    this.#lost ??= this.#next++
    return this.#lost
  }

  #open(): Arena {
    if (!this.#arena) {
      this.#arena = new Arena()
      dropped.register(this, this.#arena)
    }
    return this.#arena
  }

  #page(frame: Frame): Uint8Array {
    const at = Math.floor(frame / WINDOW_FRAMES)
    let window = this.#windows.get(at)
    if (!window) {
      window = this.#map(at)
      this.#windows.set(at, window)
    }
    const start = (frame % WINDOW_FRAMES) * PAGE_SIZE
    return window.subarray(start, start + PAGE_SIZE)
  }

  #map(at: number): Uint8Array {
    const { fd, ranges } = this.#open()
    const length = WINDOW_FRAMES * PAGE_SIZE
    const options = { prot: PROT_READ | PROT_WRITE, flags: MAP_SHARED }
    const address = ranges.map({ fd, offset: at * length, length }, options)
    if (address < 0) throw new XenError(address, 'mmap')
    return ranges.view(address, length)
  }
}
