import type { ErrorFacts } from '../../src/base/errors.ts'
import { framesOf } from '../../src/hypervisor/frame-runs.ts'
import type { Frame, FrameRun, PagePlacement, PageStore } from '../../src/hypervisor/page-store.ts'
import type { PortEnd, PortPeer } from '../../src/kernel/event-queue.ts'
import type { EvtchnFile } from '../../src/kernel/evtchn.ts'
import { LocalEventQueue } from '../../src/kernel/local-event-queue.ts'
import { byteOf } from './ledger.ts'

/** What the model did to the world outside of it, in the order in which it did it. */
export class Recorder {
  readonly #done: string[] = []

  add(what: string): void {
    this.#done.push(what)
  }

  /** What was done since the last time that this was asked. */
  take(): string[] {
    return this.#done.splice(0)
  }
}

/** A page store that tells of each byte that is cleared, and which pages are out. */
export class RecordingPages implements PageStore {
  readonly #pages: PageStore
  readonly #recorder: Recorder
  readonly used = new Set<Frame>()

  constructor(pages: PageStore, recorder: Recorder) {
    this.#pages = pages
    this.#recorder = recorder
  }

  allocate(count: number, placement: PagePlacement): FrameRun[] | ErrorFacts {
    const runs = this.#pages.allocate(count, placement)
    if (Array.isArray(runs)) for (const frame of framesOf(runs)) this.used.add(frame)
    return runs
  }

  free(first: Frame, count: number): void {
    for (let i = 0; i < count; i++) this.used.delete(first + i)
    this.#pages.free(first, count)
  }

  clearByte(frame: Frame, offset: number): void {
    this.#recorder.add(byteOf(frame, offset))
    this.#pages.clearByte(frame, offset)
  }

  read(frame: Frame, offset: number, length: number): Uint8Array {
    return this.#pages.read(frame, offset, length)
  }

  write(frame: Frame, offset: number, bytes: Uint8Array): void {
    this.#pages.write(frame, offset, bytes)
  }
}

/** A queue of events that tells of each, also of those that find one pending. */
export class RecordingQueue extends LocalEventQueue {
  readonly #file: EvtchnFile
  readonly #recorder: Recorder
  readonly #ports = new Set<number>()

  constructor(file: EvtchnFile, recorder: Recorder) {
    super(file.domain.profile)
    this.#file = file
    this.#recorder = recorder
  }

  override bound(port: number, peer: PortPeer): PortEnd {
    this.#ports.add(port)
    return super.bound(port, peer)
  }

  override unbound(port: number): void {
    this.#ports.delete(port)
    super.unbound(port)
  }

  override raise(port: number): void {
    if (this.#ports.has(port)) this.#recorder.add(`event at ${this.#file.domid}:${port}`)
    super.raise(port)
  }
}
