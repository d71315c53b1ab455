import { ERRNO } from '../abi/errno.ts'
import type { ErrorFacts } from '../base/errors.ts'
import { type FrameRun, NO_FRAME } from '../hypervisor/page-store.ts'
import type { Process } from '../kernel/process.ts'
import { addSeals, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL } from '../native/files.ts'
import type { Answer } from './answer.ts'
import type { Chunk, ChunkStore } from './chunk-store.ts'
import type { BodyReader, BodyWriter } from './wire.ts'

const FUTURE_WRITE_SEALS = F_SEAL_FUTURE_WRITE | F_SEAL_SEAL

/**
 * Which chunks one client may have the descriptors of, and how their pages are named to it: the
 * one place that decides what a process gets to see (docs/security.md).
 */
export class ShownPages {
  readonly #chunks: ChunkStore
  readonly #process: Process
  #refusal: ErrorFacts | undefined

  constructor(chunks: ChunkStore, process: Process) {
    this.#chunks = chunks
    this.#process = process
  }

  /** Why the last pages could not be shown, when there is more to say than that. */
  get refusal(): ErrorFacts | undefined {
    return this.#refusal
  }

  /** The chunks of read-only grants that this process must map before they can be sealed. */
  announce(answer: BodyWriter): void {
    const chunks = this.#chunks.unmappedOf(this.#process)
    answer.u32(chunks.length)
    for (const { id, holders } of chunks) {
      holders.add(this.#process)
      answer.u32(id)
    }
  }

  /**
   * Writes pages as runs within chunks. Answers false when a chunk of them cannot be shown yet.
   */
  write(answer: BodyWriter, frames: readonly FrameRun[]): boolean {
    const at = answer.length
    answer.u32(0)
    let runs = 0
    for (const { first, count } of frames) {
      if (first === NO_FRAME) {
        answer.u32(0).u32(0).u32(count)
        runs++
        continue
      }
      for (let frame = first; frame < first + count; runs++) {
        const chunk = this.#chunks.chunkOf(frame)
        if (!this.#entitle(chunk)) return false
        const end = Math.min(first + count, chunk.first + chunk.pages)
        answer
          .u32(chunk.id)
          .u32(frame - chunk.first)
          .u32(end - frame)
        frame = end
      }
    }
    answer.replaceU32(at, runs)
    return true
  }

  /** The descriptor of a chunk, for whoever may have it. */
  chunk(body: BodyReader, answer: BodyWriter): Answer {
    const id = body.u32()
    body.end()
    const chunk = this.#chunks.chunk(id)
    if (!chunk?.holders.has(this.#process)) return { result: -ERRNO.ENOENT }
    const isGranter = chunk.placement.process === this.#process
    answer.u32(chunk.pages).u32(chunk.placement.writable ? 1 : 0)
    answer.u32(isGranter ? 1 : 0)
    return { result: 0, fds: [chunk.memfd.fd] }
  }

  /** The granter of a read-only chunk has a writable mapping of its own now. */
  mapped(body: BodyReader): Answer {
    const chunk = this.#chunks.chunk(body.u32())
    body.end()
    if (chunk?.placement.process !== this.#process) return { result: -ERRNO.ENOENT }
    this.#chunks.setGranterMapped(chunk)
    return { result: 0 }
  }

  /** Lets this process have a chunk's descriptor; false while its granter is not ready for that. */
  #entitle(chunk: Chunk): boolean {
    this.#refusal = undefined
    if (chunk.holders.has(this.#process)) return true
    const { placement, memfd } = chunk
    const { domid } = this.#process.domain
    this.#refusal = this.#chunks.share(chunk, domid)
    if (this.#refusal) return false
    if (placement.process !== this.#process) {
      if (!placement.writable) {
        if (!chunk.isGranterMapped) return false
        // A granter that sealed its chunk against sealing has nothing that could be shown.
        const isSealed = chunk.isShared || addSeals(memfd.fd, FUTURE_WRITE_SEALS) >= 0
        if (!isSealed) return false
      }
      chunk.isShared = true
    } else if (placement.grantee === domid) {
      chunk.isShared = true
    }
    chunk.holders.add(this.#process)
    return true
  }
}
