import type { Puppet } from '../conformance/puppet.ts'
import type { Rig } from '../conformance/rig.ts'
import type { LimitName } from '../platform.ts'
import type { Composed } from './generator.ts'
import { SEQUENCES_PER_CLEAN } from './limits.ts'
import type { Performer } from './performer.ts'
import { playSequence, type Score } from './player.ts'
import type { Stage } from './stage.ts'

/** A rig of the conformance suite as a stage; its puppets live on from sequence to sequence. */
export class RigStage implements Stage, Performer {
  readonly survivesFaults = false
  readonly #rig: Rig
  readonly #puppets = new Map<number, Puppet>()
  #played = 0

  constructor(rig: Rig) {
    this.#rig = rig
  }

  get domid(): number {
    return this.#rig.domid
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

  async puppet(process: number): Promise<Puppet> {
    const puppet = this.#puppets.get(process) ?? (await this.#rig.disposable())
    this.#puppets.set(process, puppet)
    return puppet
  }

  async kill(process: number): Promise<void> {
    const puppet = this.#puppets.get(process)
    this.#puppets.delete(process)
    await puppet?.kill()
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

  async #clean(): Promise<void> {
    this.#puppets.clear()
    await this.#rig.clean()
  }
}
