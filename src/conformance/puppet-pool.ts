import type { ChildPuppet } from './child-puppet.ts'

export interface PuppetPoolOptions {
  /** Starts a puppet that has nothing open. */
  readonly start: () => Promise<ChildPuppet>
}

/**
 * The child puppets of a rig. A process takes a moment to start, so those that live on serve case
 * after case, and the next one to be killed is started while the case before it runs.
 */
export class PuppetPool {
  readonly #start: () => Promise<ChildPuppet>
  /** By number; one that was found dead leaves a hole. */
  readonly #kept: (ChildPuppet | undefined)[] = []
  #disposables: ChildPuppet[] = []
  #spare: Promise<ChildPuppet> | undefined

  constructor({ start }: PuppetPoolOptions) {
    this.#start = start
  }

  /** The n-th of those that live on. */
  async kept(n: number): Promise<ChildPuppet> {
    const puppet = this.#kept[n] ?? (await this.#start())
    this.#kept[n] = puppet
    return puppet
  }

  /** One for this case alone. */
  async disposable(): Promise<ChildPuppet> {
    const puppet = await (this.#spare ?? this.#start())
    this.#disposables.push(puppet)
    this.#spare = this.#start()
    // Whoever takes it hears of its failure; until then it must not end the run.
    this.#spare.catch(() => {})
    return puppet
  }

  /** Ends a case. Throws the first thing that went wrong, when everything else is done. */
  async reset(): Promise<void> {
    const problems: unknown[] = []
    for (const [n, puppet] of this.#kept.entries()) {
      try {
        await puppet?.reset()
      } catch (error) {
        problems.push(error)
        this.#kept[n] = undefined
        await puppet?.kill()
      }
    }
    const disposables = this.#disposables
    this.#disposables = []
    for (const puppet of disposables) await puppet.discard()
    if (problems.length > 0) throw problems[0]
  }

  /** Kills all of them; the pool can be used again afterwards. */
  async close(): Promise<void> {
    const spare = this.#spare
    const all = [...this.#kept.splice(0), ...this.#disposables.splice(0)]
    this.#spare = undefined
    all.push(await spare?.catch(() => undefined))
    await Promise.allSettled(all.map(puppet => puppet?.discard()))
  }
}
