import type { DeviceName } from '../abi/devices.ts'
import type { Dice } from './dice.ts'
import { ARENA_PAGES } from './limits.ts'
import type { DescriptorBook, FileBook, Made, Play } from './play.ts'
import {
  type DomidWord,
  OTHER_PROCESSES,
  type Place,
  type PortWord,
  type Side,
  type Spot,
  type Step,
  type StepId,
  sideOf,
} from './sequence.ts'

/** Processes that a sequence may have in a domain. */
const PROCESSES = 3
/** A domain that no machine has. */
const NOBODY = 0x7000

export interface OpenDescriptor extends DescriptorBook {
  readonly id: StepId
}

export interface MadeStep extends Made {
  readonly id: StepId
}

/** A step that is yet without its number. */
export type Draft<S = Step> = S extends { id: StepId } ? Omit<S, 'id'> : never

/** What a generator sees of the play so far, and how it picks what the next step names. */
export class Situation {
  readonly dice: Dice
  readonly #play: Play
  #lastId = 0

  constructor(play: Play, dice: Dice) {
    this.#play = play
    this.dice = dice
  }

  /** Numbers a step. */
  step(draft: Draft): Step {
    return { id: ++this.#lastId, ...draft } as Step
  }

  descriptors(device: DeviceName): OpenDescriptor[] {
    return [...this.#play.descriptors]
      .filter(([, { isOpen, file }]) => isOpen && file.device === device)
      .map(([id, book]) => ({ id, ...book }))
  }

  descriptor(device: DeviceName): OpenDescriptor | undefined {
    return this.dice.pick(this.descriptors(device))
  }

  /** Mostly a descriptor through which something was allocated, mapped or bound. */
  busyDescriptor(device: DeviceName): OpenDescriptor | undefined {
    const what = device === 'evtchn' ? 'port' : 'index'
    const made = this.recentMade(this.made(what).filter(({ file }) => file.device === device))
    const busy = this.descriptors(device).filter(({ file }) => file === made?.file)
    return busy.length > 0 && this.dice.chance(85) ? this.dice.pick(busy) : this.descriptor(device)
  }

  /** Steps that allocated, mapped or bound something, whatever has become of it. */
  made(what: 'refs' | 'port' | 'index'): MadeStep[] {
    return [...this.#play.made]
      .filter(([, made]) => made[what] !== undefined)
      .map(([id, made]) => ({ id, ...made }))
  }

  /** Whether there are two domains, as yet. */
  get isPair(): boolean {
    return !this.#play.isGone(OTHER_PROCESSES)
  }

  process(): number {
    const { dice } = this
    const first = this.isPair && dice.chance(45) ? OTHER_PROCESSES : 0
    return first + dice.below(dice.chance(70) ? 2 : PROCESSES)
  }

  /** How a process names a domain of the sequence. */
  wordFor(process: number, side: Side): 'self' | 'other' {
    return sideOf(process) === side ? 'self' : 'other'
  }

  /** Whom a process names: mostly the domain that is meant. */
  domid(process: number, side: Side = sideOf(process)): DomidWord {
    const { dice } = this
    if (dice.chance(88)) return this.wordFor(process, side)
    if (this.isPair && dice.chance(50)) return dice.of('self', 'other')
    return dice.of<DomidWord>('DOMID_SELF', 'none', 'wide', NOBODY)
  }

  /** Whom to grant something to. */
  grantee(): DomidWord {
    const { dice } = this
    if (!dice.chance(94)) return dice.of('none', 'DOMID_SELF')
    return this.isPair && dice.chance(65) ? 'other' : 'self'
  }

  /** Refs for somebody in a domain; mostly they were meant for it. */
  refsFor(side: Side): MadeStep | undefined {
    const all = this.made('refs')
    const meant = all.filter(({ grantee }) => grantee === side)
    return this.recentMade(meant.length > 0 && this.dice.chance(90) ? meant : all)
  }

  /** A step that allocated or mapped, mostly one that still has all that it was given. */
  recentMade(all: readonly MadeStep[]): MadeStep | undefined {
    const whole = all.filter(({ id, file }) => this.#isOpen(file) && !this.#play.givenBack.has(id))
    return this.dice.recent(whole.length > 0 && this.dice.chance(85) ? whole : all)
  }

  /** A place in what some step was given on this descriptor, or a wrong one. */
  place({ file }: OpenDescriptor): { place: Place; made: MadeStep | undefined } {
    const { dice } = this
    const all = this.made('index')
    const own = all.filter(made => made.file === file)
    const made = this.recentMade(own.length > 0 && dice.chance(94) ? own : all)
    if (!made || dice.chance(2)) return { place: { page: 0, byte: 0 }, made: undefined }
    const count = made.count ?? 1
    const page = dice.chance(92) ? dice.below(count) : dice.of(count, count + 1)
    return { place: { of: made.id, page, byte: 0 }, made }
  }

  /** Any port, mostly one of a domain that is bound. */
  port(side: Side): PortWord {
    const { dice } = this
    const everywhere = this.made('port')
    const here = everywhere.filter(({ file }) => file.side === side)
    const all = here.length > 0 && dice.chance(95) ? here : everywhere
    const bound = all.filter(
      ({ port, file }) => port !== undefined && file.ports.has(port) && this.#isOpen(file),
    )
    const port = dice.recent(bound.length > 0 && dice.chance(85) ? bound : all)
    if (port && dice.chance(93)) return { of: port.id }
    return dice.of<PortWord>('kernel', 'none')
  }

  /** A port that some step bound on this descriptor, mostly one that still is. */
  portOf({ file }: OpenDescriptor): PortWord {
    const all = this.made('port').filter(made => made.file === file)
    const bound = all.filter(({ port }) => port !== undefined && file.ports.has(port))
    const port = this.dice.recent(this.dice.chance(92) ? bound : all)
    return port ? { of: port.id } : this.port(file.side)
  }

  /** A place for a mapping: mostly one where no device is mapped. */
  room(process: number, pages: number): number {
    const { dice } = this
    const devices = this.#play.actors.get(process)?.devices ?? []
    for (let tries = 0; tries < 8; tries++) {
      const page = dice.below(ARENA_PAGES - pages + 1)
      const isFree = Array.from({ length: pages }, (_, i) => devices[page + i]).every(d => !d)
      if (isFree || dice.chance(8)) return page
    }
    return dice.below(ARENA_PAGES - pages + 1)
  }

  /** A process and a page of it that a device was mapped to, if there is one. */
  mapped(device?: DeviceName): { process: number; page: number } | undefined {
    return this.dice.pick(this.mappedPages(device))
  }

  mappedPages(device?: DeviceName): { process: number; page: number }[] {
    const found: { process: number; page: number }[] = []
    for (const [process, { devices }] of this.#play.actors) {
      devices.forEach((one, page) => {
        if (one && (!device || one === device)) found.push({ process, page })
      })
    }
    return found
  }

  /** How many pages from `page` on belong together, at least 1. */
  run({ process, page }: { process: number; page: number }): number {
    const devices = this.#play.actors.get(process)?.devices ?? []
    const device = devices[page]
    let pages = 1
    while (page + pages < ARENA_PAGES && device && devices[page + pages] === device) pages++
    return pages
  }

  /** Bytes that sequences look at: few, so that they meet. */
  byte(): number {
    return this.dice.of(0, 0, 7, 32, 2048, 2055, 4095)
  }

  spot(page: number): Spot {
    return { page, byte: this.byte() }
  }

  /** Processes that run. */
  running(): number[] {
    return [...this.#play.actors.keys()]
  }

  #isOpen(file: FileBook): boolean {
    return [...this.#play.descriptors.values()].some(one => one.isOpen && one.file === file)
  }
}
