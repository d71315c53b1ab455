import { Budget } from '../../src/host/budget.ts'
import { ChunkStore } from '../../src/host/chunk-store.ts'
import { DESCRIPTORS_MAX } from '../../src/host/limits.ts'
import { framesOf } from '../../src/hypervisor/frame-runs.ts'
import type { PageStore } from '../../src/hypervisor/page-store.ts'
import type { Domain } from '../../src/kernel/domain.ts'
import { Actor, ArenaMemory, PlainPages, Rig } from '../kernel/machine-rig.ts'
import { type Effects, Ledger, type LedgerDomain } from './ledger.ts'
import { type Call, Player, same } from './player.ts'
import { Recorder, RecordingPages, RecordingQueue } from './recorder.ts'

/** The players by name, their domains, and what they are like. */
export interface Cast {
  /** Which domain a player is a process of. */
  readonly players: Readonly<Record<string, number>>
  readonly kind?: 'pv' | 'hvm'
  /** Pages that each domain may grant. */
  readonly quota?: number
  /** Pages of the host's chunks instead of plain ones. */
  readonly withChunks?: boolean
}

/** One step of a script: a call of a player, a second of time, or the end of a domain. */
export type Step = `${string}.${Call}` | 'second' | `destroy ${number}`

const WITNESS = 9
const MS_PER_SECOND = 1000
/** One buffer for all: its bytes mean something during a call only. */
const MEMORY = new ArenaMemory()

/** A machine with its players and its ledger, for one order of their calls. */
export class Stage {
  readonly #recorder = new Recorder()
  readonly #ledger = new Ledger()
  readonly #chunks: ChunkStore | undefined
  readonly #pages: RecordingPages
  readonly #rig: Rig
  readonly #players = new Map<string, Player>()
  readonly #domains = new Map<number, LedgerDomain>()
  readonly #witness: Player

  constructor(cast: Cast) {
    this.#chunks = cast.withChunks
      ? new ChunkStore(new Budget(DESCRIPTORS_MAX, () => undefined))
      : undefined
    const store: PageStore = this.#chunks ?? new PlainPages()
    this.#pages = new RecordingPages(store, this.#recorder)
    this.#rig = new Rig({
      pages: this.#pages,
      eventQueue: file => new RecordingQueue(file, this.#recorder),
    })
    this.#witness = this.#player(WITNESS, cast)
    for (const [name, domid] of Object.entries(cast.players)) {
      const player = this.#player(domid, cast)
      this.#players.set(name, player)
      this.#giveBell(player)
    }
    const [first, ...others] = this.#players.values()
    for (const other of others) {
      if (!first) break
      other.peer = first
      // Who is granted to: the last of the cast, whose domain all mappers share.
      first.peer = other
    }
    this.#recorder.take()
    this.#witness.foretold.length = 0
  }

  /** Plays a step and compares all that can be seen with what the ledger says. */
  play(step: Step): void {
    const foretold: string[] = []
    if (step === 'second') {
      this.#rig.clock.advance(MS_PER_SECOND)
      this.#ledger.tick()
    } else if (step.startsWith('destroy ')) this.#destroy(Number(step.slice(8)))
    else {
      const [name = '', call] = step.split('.') as [string, Call]
      const player = this.#players.get(name)
      if (!player) throw new Error(`nobody is called ${name}`)
      if (player.isDead) return
      player[call]()
      foretold.push(...player.foretold.splice(0))
      if (call === 'kill') this.#chunks?.retire(player.actor.process)
    }
    this.#compareEffects([foretold, ...this.#ledger.settle()])
    this.#compareCounts()
    this.#compareReach()
  }

  /** Everybody dies, a second passes, and nothing is left. */
  finish(): void {
    for (const name of this.#players.keys()) this.play(`${name}.kill`)
    this.play('second')
    same('events that are still armed', this.#ledger.armed, 0)
    same('pages that are still in use', this.#pages.used.size, 0)
    this.#rig.finish()
    this.#chunks?.retire(this.#witness.actor.process)
    same('chunks', this.#chunks?.size ?? 0, 0)
  }

  #player(domid: number, { kind = 'pv', quota = 1024 }: Cast): Player {
    const known = this.#rig.machine.domain(domid)
    const limits = { 'gntalloc.limit': quota }
    const domain = known ?? this.#rig.machine.createDomain({ domid, kind, limits })
    const process = domain.createProcess({ pid: 100 + this.#players.size })
    let entry = this.#domains.get(domid)
    if (!entry) {
      entry = { domid, kind }
      this.#domains.set(domid, entry)
    }
    return new Player(new Actor(this.#rig, process, MEMORY), entry, this.#ledger)
  }

  /** A port of the player's on which the witness hears what is sent. */
  #giveBell(player: Player): void {
    const { peer } = player
    player.peer = this.#witness
    player.bind()
    this.#witness.peer = player
    this.#witness.connect()
    player.bell = this.#ledger.ports.at(-2)
    player.peer = peer
  }

  #destroy(domid: number): void {
    const domain = this.#domains.get(domid)
    if (!domain || this.#ledger.isDestroyed(domain)) return
    this.#rig.machine.destroyDomain(domid)
    this.#ledger.destroy(domain)
    for (const player of this.#players.values()) {
      if (player.domain !== domain) continue
      player.isDead = true
      this.#chunks?.retire(player.actor.process)
    }
  }

  /** Each notification once, by the very call that it waited for, the byte before the event. */
  #compareEffects(wanted: readonly Effects[]): void {
    const done = this.#recorder.take()
    if (done.length === 0 && wanted.every(({ length }) => length === 0)) return
    same('what was done', [...done].sort(), wanted.flat().sort())
    for (const [first, second] of wanted) {
      if (first === undefined || second === undefined) continue
      same(`${first} is before ${second}`, done.indexOf(first) < done.lastIndexOf(second), true)
    }
  }

  #compareCounts(): void {
    const ledger = this.#ledger
    let out = 0
    for (const page of ledger.pages) {
      if (page.state !== 'free') out++
      this.#compareEntry(page)
    }
    same('pages out', this.#pages.used.size, out)
    for (const [domid, entry] of this.#domains) {
      if (ledger.isDestroyed(entry)) continue
      const domain = this.#rig.machine.domain(domid) as Domain
      const ours = ledger.pages.filter(page => page.file.domain === entry)
      const inState = (state: string) => ours.filter(page => page.state === state)
      same('quota in use', domain.grefs.pagesInUse, inState('living').length)
      const deferred = inState('deferred').map(({ ref }) => ref)
      same('deferred', [...domain.grantRefs.deferred].sort(), deferred.sort())
      same('maptrack handles', domain.xen.maptrack.used, ledger.handles(entry))
      const files = ledger.files.filter(file => file.domain === entry && ledger.isOpen(file))
      same('open files', domain.files.size, files.length)
      const ports = ledger.ports.filter(port => port.file.domain === entry && port.isOpen)
      same(
        'ports that are held',
        [...domain.ports.held()].map(({ port, isRead }) => `${port} ${isRead}`).sort(),
        ports.map(port => `${port.port} ${ledger.isRead(port)}`).sort(),
      )
    }
    if (this.#chunks) this.#compareChunks(this.#chunks)
  }

  /** The entry of a page in its grant table, which stands as long as the page is not free. */
  #compareEntry({ state, ref, frame, grantee, file }: Ledger['pages'][number]): void {
    const { grants } = this.#rig.machine.domain(file.domain.domid)?.xen ?? {}
    if (state === 'free') {
      same('a free page is out', this.#pages.used.has(frame) && !this.#chunks, false)
      return
    }
    const page = this.#ledger.granted(file.domain.domid, ref, grantee)
    const pins = page ? this.#ledger.pins(page) : 0
    same(`pins of ref ${ref}`, grants?.pins(ref), pins)
    same(`ref ${ref} is in use`, grants?.isInUse(ref), pins > 0)
    same(`ref ${ref} is granted`, grants?.isGranted(ref), true)
    same(`frame of ref ${ref}`, grants?.frame(ref), frame)
  }

  /** Pages that each chunk counts as used. */
  #compareChunks(chunks: ChunkStore): void {
    const used = new Map<number, number>()
    for (const { state, frame } of this.#ledger.pages) {
      if (state === 'free') continue
      const { id } = chunks.chunkOf(frame)
      used.set(id, (used.get(id) ?? 0) + 1)
    }
    for (const [id, count] of used) same(`pages of chunk ${id}`, chunks.chunk(id)?.used, count)
  }

  /** No process reaches a page that is not its own, unless a grant of that page is pinned by it. */
  #compareReach(): void {
    const ledger = this.#ledger
    for (const player of this.#players.values()) {
      if (player.isDead) continue
      for (const vma of player.actor.process.addressSpace) {
        for (const frame of framesOf(vma.frames)) {
          const page = ledger.pages.find(one => one.frame === frame && one.state !== 'free')
          const isOwn = vma.device === 'gntalloc' && page?.state === 'living'
          const mayRead = isOwn
            ? page.file.domain === player.domain
            : page?.grantee === player.domain.domid && ledger.pins(page, player.domain) > 0
          same(`frame ${frame} is reached by right`, mayRead, true)
        }
      }
    }
  }
}
