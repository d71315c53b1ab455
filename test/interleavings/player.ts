import { ERRNO } from '../../src/abi/errno.ts'
import * as evtchn from '../../src/abi/evtchn.ts'
import * as abi from '../../src/abi/gntdev.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { type Actor, ARENA } from '../kernel/machine-rig.ts'
import {
  eventOf,
  type GrantMapping,
  type Ledger,
  type LedgerDomain,
  type LedgerFile,
  type LedgerPort,
  type Mapping,
  type Page,
} from './ledger.ts'

const CLEAR_BYTE = 1
const SEND_EVENT = 2
/** Where the byte lies that is to be cleared. */
const BYTE = 100
/** The first ref that a kernel hands out: what a mapper asks for before it was told. */
const FIRST_REF = 8

type DeviceName = 'gntalloc' | 'gntdev' | 'evtchn'

/** A device of a player: its open file, and the descriptors of it, oldest first. */
interface Opened {
  readonly file: LedgerFile
  readonly fds: number[]
}

/** Throws unless the model did what the ledger expects. */
export function same(what: string, got: unknown, wanted: unknown): void {
  if (got === wanted || String(got) === String(wanted)) return
  throw new Error(`${what}: ${got}, and not ${wanted}`)
}

/**
 * A process that makes calls of the model and writes them into the ledger. What a call answers is
 * foretold from the ledger. It knows one peer: pages are granted to it, its first ref is mapped.
 */
export class Player {
  readonly actor: Actor
  readonly domain: LedgerDomain
  readonly #ledger: Ledger
  readonly #devices: Readonly<Record<DeviceName, Opened>>
  peer: Player = this
  bell: LedgerPort | undefined
  isDead = false
  /** Events that the last call is to send by itself, for the stage to take. */
  readonly foretold: string[] = []
  #indexes = 0
  #page: Page | undefined
  #map: GrantMapping | undefined
  #port: LedgerPort | undefined
  #mapped: Mapping[] = []

  constructor(actor: Actor, domain: LedgerDomain, ledger: Ledger) {
    this.actor = actor
    this.domain = domain
    this.#ledger = ledger
    const open = (device: DeviceName): Opened => {
      const file = { domain, descriptors: 1 }
      ledger.files.push(file)
      return { file, fds: [actor.open(device)] }
    }
    this.#devices = { gntalloc: open('gntalloc'), gntdev: open('gntdev'), evtchn: open('evtchn') }
  }

  /** ALLOC_GREF of one page for the peer. */
  alloc(): void {
    const { grefs, limits } = this.actor.process.domain
    const living = this.#ledger.pages.filter(
      ({ state, file }) => state === 'living' && file.domain === this.domain,
    )
    const isFull = living.length + 1 > limits['gntalloc.limit']
    const grantee = this.peer.domain.domid
    const { result, index, refs } = this.actor.alloc(this.#fd('gntalloc'), 1, grantee)
    const wanted = isFull ? -ERRNO.ENOSPC : 0
    same('ALLOC', result, this.#unlessClosed('gntalloc', wanted))
    if (result < 0) return
    const ref = refs[0] ?? 0
    same('index of ALLOC', index, this.#indexes++ * PAGE_SIZE)
    const holder = this.#ledger.pages.find(
      page => page.ref === ref && page.file.domain === this.domain && page.state !== 'free',
    )
    same(`ref ${ref} is handed out while it is`, holder?.state, undefined)
    const { grants } = this.actor.process.domain.xen
    const frame = grants.frame(ref)
    const file = this.#devices.gntalloc.file
    const page: Page = {
      ...{ file, index, ref, frame, grantee },
      ...{ isListed: true, notification: undefined, state: 'living' },
    }
    this.#ledger.pages.push(page)
    this.#page = page
    same('pages in use', grefs.pagesInUse, living.length + 1)
  }

  /** Arms byte and event of the page that was allocated last. */
  arm(): void {
    this.#arm('gntalloc', this.#page, this.bell)
  }

  /** The same, with the port of {@link bind}. */
  armPort(): void {
    this.#arm('gntalloc', this.#page, this.#port)
  }

  disarm(): void {
    this.#disarm('gntalloc', this.#page)
  }

  mmap(): void {
    this.#mmap('gntalloc', this.#page, this.#page?.isListed === true, ERRNO.ENOENT)
  }

  dealloc(): void {
    const page = this.#page
    const result = this.actor.dealloc(this.#fd('gntalloc'), page?.index ?? 0)
    const wanted = page?.isListed ? 0 : -ERRNO.EINVAL
    same('DEALLOC', result, this.#unlessClosed('gntalloc', wanted))
    if (result === 0 && page) page.isListed = false
  }

  /** munmap of the oldest mapping, of whatever it is. */
  munmap(): void {
    const mapping = this.#mapped.shift()
    if (!mapping) return
    same('munmap', this.actor.munmap(mapping.address), 0)
    this.#ledger.mappings = this.#ledger.mappings.filter(one => one !== mapping)
  }

  /** MAP_GRANT_REF of the first ref of the peer's domain, whether it was granted yet or not. */
  map(): void {
    const { domid } = this.peer.domain
    const { result, index } = this.actor.map(this.#fd('gntdev'), [{ domid, ref: FIRST_REF }])
    same('MAP', result, this.#unlessClosed('gntdev', 0))
    if (result < 0) return
    this.#map = {
      file: this.#devices.gntdev.file,
      index,
      granter: domid,
      ref: FIRST_REF,
      isListed: true,
      page: undefined,
      wasMmapped: false,
      isPinning: false,
      isLiving: true,
      notification: undefined,
    }
    this.#ledger.maps.push(this.#map)
  }

  mmapGrant(): void {
    const map = this.#map
    const page = map && this.#ledger.granted(map.granter, map.ref, this.domain.domid)
    const isRight = map?.isListed === true && !map.wasMmapped && page !== undefined
    const isTried = map?.isListed === true && this.#devices.gntdev.file.descriptors > 0
    this.#mmap('gntdev', map, isRight, ERRNO.EINVAL)
    if (!map || !isTried) return
    if (isRight) Object.assign(map, { page, isPinning: true })
    map.wasMmapped = true
  }

  armGrant(): void {
    this.#arm('gntdev', this.#map, this.bell)
  }

  disarmGrant(): void {
    this.#disarm('gntdev', this.#map)
  }

  unmap(): void {
    const map = this.#map
    const result = this.actor.unmap(this.#fd('gntdev'), map?.index ?? 0)
    same('UNMAP', result, this.#unlessClosed('gntdev', map?.isListed ? 0 : -ERRNO.ENOENT))
    if (result === 0 && map) map.isListed = false
  }

  /** GRANT_COPY of a few bytes from the peer's first ref. */
  copy(): void {
    const { domid } = this.peer.domain
    const source = { domid, ref: FIRST_REF, offset: 0 }
    const segment = { source, dest: { address: ARENA + 1024 }, len: 4 }
    const flags = abi.GRANT_COPY_SOURCE_GREF
    const at = ARENA + 64
    const { memory } = this.actor
    memory.write(at, abi.encodeCopySegments([{ ...segment, flags }]))
    const granted = this.#ledger.granted(domid, FIRST_REF, this.domain.domid)
    const header = abi.encodeGrantCopy(1, at)
    const result = this.actor.ioctl(this.#fd('gntdev'), abi.GNTDEV_GRANT_COPY, header)
    same('GRANT_COPY', result, this.#unlessClosed('gntdev', 0))
    if (result < 0) return
    const status = abi.decodeCopyStatus(memory.at(at, abi.COPY_SEGMENT_SIZE), 0)
    same('the copy is done', status === 0, granted !== undefined)
  }

  /** BIND_UNBOUND_PORT for the peer. */
  bind(): void {
    const result = this.actor.bindUnbound(this.#fd('evtchn'), this.peer.domain.domid)
    if (this.#devices.evtchn.file.descriptors === 0) same('BIND', result, -ERRNO.EBADF)
    else this.#port = this.bound(result, this.peer.domain.domid)
  }

  /** BIND_INTERDOMAIN to the port that the peer bound; before it did, to what it would get. */
  connect(): void {
    const remote = this.peer.#port
    const number = remote?.port ?? (this.peer.bell?.port ?? 0) + 1
    const waits = remote?.isOpen && remote.peer === undefined && remote.remote === this.domain.domid
    const refusal = this.#ledger.isDestroyed(this.peer.domain) ? ERRNO.ESRCH : ERRNO.EINVAL
    const { domid } = this.peer.domain
    const result = this.actor.bindInterdomain(this.#fd('evtchn'), domid, number)
    if (!waits || !remote || this.#devices.evtchn.file.descriptors === 0) {
      same('BIND_INTERDOMAIN', result, this.#unlessClosed('evtchn', -refusal))
      return
    }
    this.#port = this.bound(result, domid)
    this.#ledger.connect(this.#port, remote)
    // The side that binds has its first event at once.
    this.foretold.push(eventOf(this.#port))
  }

  notify(): void {
    const result = this.#portCall(evtchn.EVTCHN_NOTIFY)
    if (result === 0 && this.#port) this.foretold.push(...this.#ledger.sent(this.#port))
  }

  unbind(): void {
    if (this.#portCall(evtchn.EVTCHN_UNBIND) === 0 && this.#port) this.#port.isBound = false
  }

  dupGntalloc(): void {
    this.#dup('gntalloc')
  }

  closeGntalloc(): void {
    this.#close('gntalloc')
  }

  dupGntdev(): void {
    this.#dup('gntdev')
  }

  closeGntdev(): void {
    this.#close('gntdev')
  }

  dupEvtchn(): void {
    this.#dup('evtchn')
  }

  closeEvtchn(): void {
    this.#close('evtchn')
  }

  /** SIGKILL. */
  kill(): void {
    this.actor.process.kill()
    this.isDead = true
    for (const { file } of Object.values(this.#devices)) file.descriptors = 0
    const gone = new Set(this.#mapped)
    this.#ledger.mappings = this.#ledger.mappings.filter(one => !gone.has(one))
  }

  /** A new port of this player is in the books. */
  bound(port: number, remote: number): LedgerPort {
    same('BIND answers a port', port > 0, true)
    const { file } = this.#devices.evtchn
    const entry = { file, port, remote, isBound: true, isOpen: true, peer: undefined }
    this.#ledger.ports.push(entry)
    return entry
  }

  /** The newest descriptor of a device; one that was closed when there is none. */
  #fd(device: DeviceName): number {
    return this.#devices[device].fds.at(-1) ?? -1
  }

  #unlessClosed(device: DeviceName, wanted: number): number {
    return this.#devices[device].file.descriptors > 0 ? wanted : -ERRNO.EBADF
  }

  #arm(device: DeviceName, target: Page | GrantMapping | undefined, port?: LedgerPort): void {
    const index = (target?.index ?? 0) + BYTE
    const action = CLEAR_BYTE | SEND_EVENT
    const result = this.actor.notify(this.#fd(device), index, action, port?.port ?? 0)
    const { wrongPort, wrongIndex } = { wrongPort: -ERRNO.EINVAL, wrongIndex: -ERRNO.ENOENT }
    const isListed = target?.isListed === true
    const isHeld = port?.isOpen === true
    // gntalloc looks for the page first, gntdev for the port (cases 69, 152).
    const first = device === 'gntalloc' ? isListed : isHeld
    const second = device === 'gntalloc' ? isHeld : isListed
    const refusals =
      device === 'gntalloc'
        ? ([wrongIndex, wrongPort] as const)
        : ([wrongPort, wrongIndex] as const)
    const wanted = !first ? refusals[0] : !second ? refusals[1] : 0
    same('SET_UNMAP_NOTIFY', result, this.#unlessClosed(device, wanted))
    if (result === 0 && target) target.notification = { byte: BYTE, port }
  }

  #disarm(device: DeviceName, target: Page | GrantMapping | undefined): void {
    const result = this.actor.notify(this.#fd(device), target?.index ?? 0, 0)
    const wanted = target?.isListed ? 0 : -ERRNO.ENOENT
    same('SET_UNMAP_NOTIFY of nothing', result, this.#unlessClosed(device, wanted))
    if (result === 0 && target) target.notification = undefined
  }

  #mmap(
    device: DeviceName,
    target: Page | GrantMapping | undefined,
    isRight: boolean,
    refusal: number,
  ): void {
    const result = this.actor.mmap(this.#fd(device), target?.index ?? 0)
    const wanted = this.#unlessClosed(device, isRight ? 1 : -refusal)
    same(`mmap of ${device}`, Math.min(result, 1), wanted)
    if (result < 0 || !target) return
    const mapping = { file: this.#devices[device].file, address: result, target }
    this.#mapped.push(mapping)
    this.#ledger.mappings.push(mapping)
  }

  #portCall(number: number): number {
    const result = this.actor.word(this.#fd('evtchn'), number, this.#port?.port ?? 0)
    const wanted = this.#port?.isBound ? 0 : -ERRNO.ENOTCONN
    same('the call of a port', result, this.#unlessClosed('evtchn', wanted))
    return result
  }

  #dup(device: DeviceName): void {
    const { file, fds } = this.#devices[device]
    const result = this.actor.process.dup(this.#fd(device))
    same('dup', Math.min(result, 1), this.#unlessClosed(device, 1))
    if (result < 0) return
    fds.push(result)
    file.descriptors++
  }

  /** Closes the oldest descriptor. */
  #close(device: DeviceName): void {
    const { file, fds } = this.#devices[device]
    const result = this.actor.process.close(fds.shift() ?? -1)
    same('close', result, file.descriptors > 0 ? 0 : -ERRNO.EBADF)
    if (result === 0) file.descriptors--
  }
}

/** What a script may say of a player. */
export type Call = {
  [K in keyof Player]: Player[K] extends () => void ? K : never
}[keyof Player]
