import type { DeviceName } from '../abi/devices.ts'
import { DOMID_SELF } from '../abi/domid.ts'
import { errnoName } from '../abi/errno.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { KERNEL_PORT, NO_SUCH_DOMAIN, NO_SUCH_REF } from '../conformance/nonsense.ts'
import type { OpenedFacts } from '../conformance/opened.ts'
import type { Puppet } from '../conformance/puppet.ts'
import { ok } from '../conformance/verdict.ts'
import type { Access, Address, LimitName } from '../platform.ts'
import { ARENA_PAGES, MODULE_LIMITS } from './limits.ts'
import { Names } from './names.ts'
import type { DomidWord, Place, PortWord, RefWord, StepId } from './sequence.ts'
import type { Stage } from './stage.ts'

/** An index that no descriptor has, and that no driver narrows to one that it has. */
const NO_SUCH_INDEX = 2 ** 40
const NO_SUCH_PORT = 0xffff_ffff

/** An open file of the sequence: what several descriptors may name. */
export interface FileBook {
  readonly device: DeviceName
  readonly access: Access
  /** Page indexes of each ALLOC that succeeded. */
  readonly allocations: { readonly first: number; readonly count: number }[]
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

  constructor(stage: Stage) {
    this.stage = stage
  }

  /** The process, with its arena; made when first needed. */
  async actor(process: number): Promise<Actor> {
    const known = this.actors.get(process)
    if (known) return known
    const puppet = await this.stage.puppet(process)
    // One more, for what calls need beside the sequence.
    const arena = await ok(puppet.alloc((ARENA_PAGES + 1) * PAGE_SIZE))
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
    const { domid, watchdogMs } = this.stage
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

  domid(word: DomidWord): number {
    if (typeof word === 'number') return word
    const { domid } = this.stage
    return { self: domid, DOMID_SELF, none: NO_SUCH_DOMAIN, wide: domid + 0x10000 }[word]
  }

  place({ of, page, byte }: Place): number {
    const index = of === undefined ? undefined : this.made.get(of)?.index
    return (index ?? NO_SUCH_INDEX) + page * PAGE_SIZE + byte
  }

  ref({ of, nth }: RefWord): number {
    return (of === undefined ? undefined : this.made.get(of)?.refs?.[nth]) ?? NO_SUCH_REF
  }

  port(word: PortWord): number {
    if (word === 'kernel') return KERNEL_PORT
    if (word === 'none') return NO_SUCH_PORT
    return this.made.get(word.of)?.port ?? NO_SUCH_PORT
  }

  /** The name of a descriptor's number: numbers are the process's own. */
  fdName(process: number, fd: number): string {
    return this.names.name(`fd${this.actors.get(process)?.life}.`, fd)
  }

  refNames(refs: readonly number[]): string {
    return refs.map(ref => this.names.name('ref', ref)).join(',')
  }

  portName(port: number): string {
    return this.names.name('port', port)
  }

  portNames(ports: readonly number[]): string {
    return ports.map(port => this.portName(port)).join(',')
  }

  async setLimit(name: LimitName, pages: number): Promise<void> {
    this.#limits.add(name)
    await this.stage.setLimit(name, pages)
  }

  async kill(process: number): Promise<void> {
    await this.stage.kill(process)
    this.actors.delete(process)
    for (const book of this.descriptors.values()) {
      if (book.process === process) book.isOpen = false
    }
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
}

/** An errno's name for a refusal, the number for a success. */
export function resultText(result: number): string {
  return result < 0 ? errnoName(result) : String(result)
}
