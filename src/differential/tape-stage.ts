import { Puppet } from '../conformance/puppet.ts'
import type { Fault, Reply, Request } from '../conformance/puppet-protocol.ts'
import { sideOf } from './sequence.ts'
import type { Stage } from './stage.ts'

/** Source: include/uapi/asm-generic/poll.h. */
const POLLIN = 1
const POLLOUT = 4
const POLLERR = 8
/** What testbed/player.c says of an access that ended in a signal. */
const FAULTS: Readonly<Record<number, Fault>> = { [-11]: 'SIGSEGV', [-7]: 'SIGBUS' }

/**
 * A tape of testbed/player.c as a stage: a sequence is played once more, and each call answers what
 * it answered there. Right up to the first difference; what comes then has no meaning.
 */
export class TapeStage implements Stage {
  readonly domids: readonly [number, number?]
  readonly watchdogMs = 0
  readonly survivesFaults = true
  readonly #lines: Iterator<string>
  readonly #puppets = new Map<number, TapePuppet>()

  constructor(domids: readonly [number, number?], lines: Iterable<string>) {
    this.domids = domids
    this.#lines = lines[Symbol.iterator]()
  }

  async begin(): Promise<void> {
    if (this.domids.length === 2) this.#next()
  }

  async puppet(n: number): Promise<Puppet> {
    const puppet = this.#puppets.get(n) ?? new TapePuppet(() => this.#next())
    this.#puppets.set(n, puppet)
    return puppet
  }

  async kill(n: number): Promise<void> {
    this.#puppets.delete(n)
    this.#next()
  }

  async destroyOther(): Promise<void> {
    for (const n of [...this.#puppets.keys()]) if (sideOf(n) === 1) this.#puppets.delete(n)
    this.#next()
  }

  async setLimit(): Promise<void> {
    this.#next()
  }

  async settle(): Promise<void> {
    this.#next()
  }

  async reset(): Promise<void> {
    for (const puppet of this.#puppets.values()) await puppet.reset()
  }

  #next(): string {
    const { value, done } = this.#lines.next()
    if (done) throw new Error('the tape has ended')
    return value
  }
}

class TapePuppet extends Puppet {
  readonly pid = 0
  readonly #next: () => string

  constructor(next: () => string) {
    super()
    this.#next = next
  }

  override async call(request: Request): Promise<Reply> {
    // Waiting is a part of the calls of a script.
    if (request.op === 'ready') return { result: 0 }
    const [number = '', hex = ''] = this.#next().split(' ')
    const result = Number(number)
    const bytes = new Uint8Array(Buffer.from(hex, 'hex'))
    if (request.op === 'poll') return { result: 0, readiness: readiness(result) }
    if (request.op !== 'peek' && request.op !== 'poke') return { result, bytes }
    const signal = FAULTS[result]
    return signal ? { result, signal } : { result, bytes }
  }

  override kill(): Promise<void> {
    throw new Error('a stage kills')
  }

  override exit(): Promise<void> {
    throw new Error('no sequence exits')
  }
}

function readiness(events: number): { in: boolean; out: boolean; err: boolean } {
  return {
    in: (events & POLLIN) !== 0,
    out: (events & POLLOUT) !== 0,
    err: (events & POLLERR) !== 0,
  }
}
