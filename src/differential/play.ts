import type { DeviceName } from '../abi/devices.ts'
import { DOMID_SELF } from '../abi/domid.ts'
import { errnoName } from '../abi/errno.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { KERNEL_PORT, NO_SUCH_DOMAIN, NO_SUCH_REF } from '../conformance/nonsense.ts'
import type { OpenedFacts } from '../conformance/opened.ts'
import type { Puppet } from '../conformance/puppet.ts'
import { ok } from '../conformance/verdict.ts'
import type { Access, Address, LimitName } from '../platform.ts'
import { ALL_PAGES, MODULE_LIMITS } from './limits.ts'
import { Names } from './names.ts'
import {
  type DomidWord,
  OTHER_PROCESSES,
  type Place,
  type PortWord,
  type RefWord,
  type Side,
  type StepId,
  sideOf,
} from './sequence.ts'
import type { Stage } from './stage.ts'

/** An index that no descriptor has, and that no driver narrows to one that it has. */
const NO_SUCH_INDEX = 2 ** 40
const NO_SUCH_PORT = 0xffff_ffff

/** An open file of the sequence: what several descriptors may name. */
export interface FileBook {
  readonly device: DeviceName
  /** The domain that it was opened in. */
  readonly side: Side
  readonly access: Access
  /** Page indexes of each ALLOC that succeeded. */
  readonly allocations: { readonly first: number; readonly count: number }[]
  /** An ALLOC whose answer could not be stored has left pages, nobody was told which. */
  hasHiddenPages: boolean
  /** Page indexes for which a byte to clear was ever armed. */
  readonly armedPages: Set<number>
  /** What is bound to it. */
  readonly ports: Set<number>
}

/** A descriptor of the sequence. */
export interface DescriptorBook {
  readonly process: number
  readonly fd: number
  readonly file: FileBook
  isOpen: boolean
}

/** What a step was given, for the steps that name it. */
export interface Made {
  readonly file: FileBook
  readonly index?: number
  readonly count?: number
  readonly refs?: readonly number[]
  /** Whom they were granted to: -1 for neither domain. */
  readonly grantee?: number
  readonly port?: number
}

/** A process of the sequence. */
export interface Actor {
  readonly puppet: Puppet
  readonly arena: Address
  /** Tells apart the processes that were killed from those after them. */
  readonly life: number
  /** Which device a page of the arena was last mapped from. */
  readonly devices: (DeviceName | undefined)[]
  /** Pages that gntdev mapped with PROT_NONE, until something else happens there. */
  readonly unprotected: Set<number>
  /** Pages that were unmapped, as far as is known. */
  readonly holes: Set<number>
}

/**
 * The books of one play of a sequence: what the steps were given, what is open, what lies where.
 * They are kept alike on every stage, as long as the stages answer alike.
 */
export class Play {
  readonly stage: Stage
  readonly names: Names = new Names()
  readonly descriptors: Map<StepId, DescriptorBook> = new Map()
  readonly made: Map<StepId, Made> = new Map()
  /** Steps whose pages or grants were given back, as a whole or in part. */
  readonly givenBack: Set<StepId> = new Set()
  readonly actors: Map<number, Actor> = new Map()
  readonly #limits = new Set<LimitName>()
  #lives = 0
  #isOtherDestroyed = false

  constructor(stage: Stage) {
    this.stage = stage
  }

  /** The process, with its arena; made when first needed. */
  async actor(process: number): Promise<Actor> {
    const known = this.actors.get(process)
    if (known) return known
    const puppet = await this.stage.puppet(process)
    const arena = await ok(puppet.alloc(ALL_PAGES * PAGE_SIZE, this.stage.arenaAt))
    const pages = { devices: [], unprotected: new Set<number>(), holes: new Set<number>() }
    const actor: Actor = { puppet, arena, life: this.#lives++, ...pages }
    this.actors.set(process, actor)
    return actor
  }

  /** A descriptor that is open. */
  open(fd: StepId): DescriptorBook | undefined {
    const book = this.descriptors.get(fd)
    return book?.isOpen ? book : undefined
  }

  async facts(book: DescriptorBook): Promise<OpenedFacts> {
    const { puppet } = await this.actor(book.process)
    const { watchdogMs } = this.stage
    const domid = this.domid('self', book.process)
    const settle = (ms: number): Promise<void> => this.stage.settle(ms)
    return {
      puppet,
      fd: book.fd,
      name: book.file.device,
      domid,
      grantee: domid,
      watchdogMs,
      settle,
    }
  }

  /** The domain that a process of a sequence names by a word. */
  domid(word: DomidWord, process: number): number {
    if (typeof word === 'number') return word
    const { domids } = this.stage
    const side = sideOf(process)
    const self = domids[side] ?? NO_SUCH_DOMAIN
    const other = domids[1 - side] ?? NO_SUCH_DOMAIN
    return { self, DOMID_SELF, other, none: NO_SUCH_DOMAIN, wide: self + 0x10000 }[word]
  }

  /** Whether the word means the other domain, and that is no more. */
  isDestroyed(word: DomidWord): boolean {
    return word === 'other' && this.#isOtherDestroyed
  }

  /** Whether the process can make no call: its domain was destroyed. */
  isGone(process: number): boolean {
    return sideOf(process) === 1 && (this.#isOtherDestroyed || this.stage.domids[1] === undefined)
  }

  place({ of, page, byte }: Place): number {
    const index = of === undefined ? undefined : this.made.get(of)?.index
    return (index ?? NO_SUCH_INDEX) + page * PAGE_SIZE + byte
  }

  /** The ref that a process names: a number of one domain means nothing in the other. */
  ref({ domid, of, nth }: RefWord, process: number): number {
    const made = of === undefined ? undefined : this.made.get(of)
    const isThere = made !== undefined && isOn(made.file.side, domid, process)
    return (isThere ? made.refs?.[nth] : undefined) ?? NO_SUCH_REF
  }

  /** The port that a process names, which is one of the domain that the word means to it. */
  port(word: PortWord, process: number, domid: DomidWord = 'self'): number {
    if (word === 'kernel') return KERNEL_PORT
    if (word === 'none') return NO_SUCH_PORT
    const made = this.made.get(word.of)
    const isThere = made !== undefined && isOn(made.file.side, domid, process)
    return (isThere ? made.port : undefined) ?? NO_SUCH_PORT
  }

  /** The name of a descriptor's number: numbers are the process's own. */
  fdName(process: number, fd: number): string {
    return this.names.name(`fd${this.actors.get(process)?.life}.`, fd)
  }

  refNames(refs: readonly number[], side: Side): string {
    return refs.map(ref => this.names.name(`ref${side}`, ref)).join(',')
  }

  /** The name of a port that was bound just now. */
  portName(port: number, side: Side): string {
    return this.names.given(`port${side}`, port)
  }

  portNames(ports: readonly number[], side: Side): string {
    return ports.map(port => this.names.name(`port${side}`, port)).join(',')
  }

  async setLimit(name: LimitName, pages: number): Promise<void> {
    this.#limits.add(name)
    await this.stage.setLimit(name, pages)
  }

  async kill(process: number): Promise<void> {
    await this.stage.kill(process)
    this.#forget(process)
  }

  async destroyOther(): Promise<void> {
    if (this.isGone(OTHER_PROCESSES)) return
    await this.stage.destroyOther()
    this.#isOtherDestroyed = true
    for (const process of [...this.actors.keys()]) if (sideOf(process) === 1) this.#forget(process)
    // What dom0 itself had bound to a guest it gives back in its own time.
    this.names.neverAgain('port0')
  }

  /**
   * Gives everything back. What maps goes before what was granted, so that no grant is left for the
   * kernel's timer to free while the next sequence runs.
   */
  async end(): Promise<void> {
    for (const name of this.#limits) await this.stage.setLimit(name, MODULE_LIMITS[name])
    for (const { puppet, arena, devices } of this.actors.values()) {
      for (const [page, device] of devices.entries()) {
        if (device === 'gntdev') await puppet.munmap(arena + page * PAGE_SIZE, PAGE_SIZE)
      }
    }
    await this.stage.reset()
  }

  #forget(process: number): void {
    this.actors.delete(process)
    for (const book of this.descriptors.values()) {
      if (book.process === process) book.isOpen = false
    }
  }
}

/** Whether a domain is the one that a process means by a word, were it ever so wide. */
function isOn(side: Side, word: DomidWord, process: number): boolean {
  const isOther = word === 'other' ? 1 : 0
  return (sideOf(process) ^ isOther) === side
}

/** An errno's name for a refusal, the number for a success. */
export function resultText(result: number): string {
  return result < 0 ? errnoName(result) : String(result)
}
