import type { Puppet } from '../conformance/puppet.ts'
import type { Rig, RigDomain } from '../conformance/rig.ts'
import type { Address, LimitName } from '../platform.ts'
import type { Composed } from './generator.ts'
import { ARENA_AT, SEQUENCES_PER_CLEAN } from './limits.ts'
import type { Performer } from './performer.ts'
import { playSequence, type Score } from './player.ts'
import { sideOf } from './sequence.ts'
import type { Domains, Stage } from './stage.ts'

/** A rig of the conformance suite as a stage; its puppets live on from sequence to sequence. */
export class RigStage implements Stage, Performer {
  readonly survivesFaults = false
  readonly arenaAt: Address = ARENA_AT
  readonly #rig: Rig
  readonly #domains: Domains
  /** The other domain; it too lives on, unless a sequence destroyed it. */
  #other: RigDomain | undefined
  readonly #puppets = new Map<number, Puppet>()
  /** What the sequence calls the other domain, also after its end. */
  #otherDomid: number | undefined
  #played = 0

  constructor(rig: Rig, domains: Domains = 1) {
    this.#rig = rig
    this.#domains = domains
  }

  get domids(): readonly [number, number?] {
    const { domid } = this.#rig
    return this.#otherDomid === undefined ? [domid] : [domid, this.#otherDomid]
  }

  get watchdogMs(): number {
    return this.#rig.watchdogMs
  }

  async perform(composed: readonly Composed[]): Promise<Score[]> {
    const scores: Score[] = []
    for (const { sequence, score } of composed) {
      scores.push(await playSequence(this, sequence, score))
      this.#played++
      if (this.#played % SEQUENCES_PER_CLEAN === 0) await this.#clean()
    }
    return scores
  }

  async begin(): Promise<void> {
    if (this.#domains === 1) return
    if (!this.#rig.otherDomain) throw new Error(`${this.#rig.name} has no second domain`)
    this.#other ??= await this.#rig.otherDomain()
    this.#otherDomid = this.#other.domid
  }

  async puppet(process: number): Promise<Puppet> {
    const puppet = this.#puppets.get(process) ?? (await this.#start(process))
    this.#puppets.set(process, puppet)
    return puppet
  }

  async kill(process: number): Promise<void> {
    const puppet = this.#puppets.get(process)
    this.#puppets.delete(process)
    await puppet?.kill()
  }

  async destroyOther(): Promise<void> {
    await this.#other?.destroy()
    this.#other = undefined
    for (const n of [...this.#puppets.keys()]) if (sideOf(n) === 1) this.#puppets.delete(n)
  }

  setLimit(name: LimitName, pages: number): Promise<void> {
    return this.#rig.setLimit(name, pages)
  }

  settle(ms: number): Promise<void> {
    return this.#rig.settle(ms)
  }

  async reset(): Promise<void> {
    for (const puppet of this.#puppets.values()) await puppet.reset()
  }

  /** What was left behind was told by the difference that made us start anew. */
  async renew(): Promise<void> {
    await this.#clean().catch(() => {})
  }

  /** Throws when something was left behind since the last time. */
  async close(): Promise<void> {
    try {
      await this.#clean()
    } finally {
      await this.#rig.close()
    }
  }

  async #start(process: number): Promise<Puppet> {
    if (sideOf(process) === 0) return this.#rig.disposable()
    if (!this.#other) throw new Error('the other domain is gone')
    return this.#other.puppet()
  }

  async #clean(): Promise<void> {
    this.#puppets.clear()
    this.#other = undefined
    await this.#rig.clean()
  }
}
