/**
 * What should be, told in another way than the model tells it. The model counts users and
 * references; this keeps who has what, and asks after every call what can still be reached:
 *
 *      a file        is open while a descriptor or a mapping of it is there
 *      a page        lives while an open file lists it, or a mapping shows it
 *      a map         lives while an open file lists it, or its mapping is there
 *      a port        is open while a descriptor reads it, or a living thing would send on it
 *
 * What lived before a call and does not after it has fired its notification by that call, once.
 */
export interface LedgerDomain {
  readonly domid: number
  readonly kind: 'pv' | 'hvm'
}

export interface LedgerFile {
  readonly domain: LedgerDomain
  descriptors: number
}

/** Byte and event that are to come when something goes. */
export interface Notification {
  /** Its offset in the page. */
  byte: number | undefined
  port: LedgerPort | undefined
}

export interface Page {
  readonly file: LedgerFile
  readonly index: number
  readonly ref: number
  readonly frame: number
  readonly grantee: number
  isListed: boolean
  notification: Notification | undefined
  /** Ended while mapped by others: open to them until the timer or, at a zombie's, the unmap. */
  state: 'living' | 'deferred' | 'zombie' | 'free'
}

export interface GrantMapping {
  readonly file: LedgerFile
  readonly index: number
  readonly granter: number
  readonly ref: number
  isListed: boolean
  /** The page that an mmap of it reached; one mmap is all that there is. */
  page: Page | undefined
  wasMmapped: boolean
  isPinning: boolean
  isLiving: boolean
  notification: Notification | undefined
}

export interface Mapping {
  readonly file: LedgerFile
  readonly address: number
  readonly target: Page | GrantMapping
}

export interface LedgerPort {
  readonly file: LedgerFile
  readonly port: number
  readonly remote: number
  isBound: boolean
  isOpen: boolean
  peer: LedgerPort | undefined
}

/** What one notification does by one call, in this order. */
export type Effects = readonly string[]

export class Ledger {
  readonly files: LedgerFile[] = []
  readonly pages: Page[] = []
  readonly maps: GrantMapping[] = []
  readonly ports: LedgerPort[] = []
  mappings: Mapping[] = []
  readonly #destroyed = new Set<LedgerDomain>()

  isOpen(file: LedgerFile): boolean {
    return file.descriptors > 0 || this.mappings.some(one => one.file === file)
  }

  isDestroyed(domain: LedgerDomain): boolean {
    return this.#destroyed.has(domain)
  }

  /** The page that `grantee` would reach by this grant now: the entry stands until it is free. */
  granted(granter: number, ref: number, grantee: number): Page | undefined {
    const page = this.pages.find(
      one => one.ref === ref && one.file.domain.domid === granter && one.state !== 'free',
    )
    return page?.grantee === grantee ? page : undefined
  }

  /** Pins that Xen counts: PV maps a page for the user and for the kernel. */
  pins(page: Page, by?: LedgerDomain): number {
    return this.maps
      .filter(map => map.isPinning && map.page === page && (!by || map.file.domain === by))
      .reduce((sum, map) => sum + handles(map), 0)
  }

  /** Handles of maptrack that a domain has. */
  handles(domain: LedgerDomain): number {
    return this.maps
      .filter(map => map.isPinning && map.file.domain === domain)
      .reduce((sum, map) => sum + handles(map), 0)
  }

  /** Whether somebody reads what is sent to `port`. */
  isRead(port: LedgerPort): boolean {
    return port.isBound && this.isOpen(port.file)
  }

  /** What a send on `port` does. */
  sent(port: LedgerPort): string[] {
    const { peer } = port
    return port.isOpen && peer && this.isRead(peer) ? [eventOf(peer)] : []
  }

  connect(port: LedgerPort, peer: LedgerPort): void {
    port.peer = peer
    peer.peer = port
  }

  /** A domain ends: nothing of it fires, its ports and pins go, its pages once nobody maps them. */
  destroy(domain: LedgerDomain): void {
    this.#destroyed.add(domain)
    const isOurs = ({ file }: { file: LedgerFile }): boolean => file.domain === domain
    for (const file of this.files) if (file.domain === domain) file.descriptors = 0
    this.mappings = this.mappings.filter(one => !isOurs(one))
    for (const map of this.maps.filter(isOurs)) {
      Object.assign(map, { notification: undefined, isPinning: false, isLiving: false })
    }
    for (const page of this.pages.filter(isOurs)) {
      page.notification = undefined
      if (page.state !== 'free') page.state = 'zombie'
    }
    for (const port of this.ports.filter(isOurs)) port.isBound = false
  }

  /** The timer of each living kernel: what nobody maps any more is free. */
  tick(): void {
    for (const page of this.pages) {
      if (page.state === 'deferred' && this.pins(page) === 0) page.state = 'free'
    }
  }

  /** After a call: what is not reached any more goes. Answers what that does. */
  settle(): Effects[] {
    const effects = new Map<Notification, string[]>()
    const add = (notification: Notification | undefined, done: readonly string[]): void => {
      if (!notification || done.length === 0) return
      effects.set(notification, [...(effects.get(notification) ?? []), ...done])
    }
    for (const map of this.maps) {
      if (!map.isPinning || this.#isPinning(map)) continue
      map.isPinning = false
      add(map.notification, takeByte(map.notification, map.page))
    }
    const fired: Notification[] = []
    for (const map of this.maps) {
      if (!map.isLiving || this.#isLiving(map)) continue
      map.isLiving = false
      add(map.notification, this.#event(map.notification))
      if (map.notification) fired.push(map.notification)
    }
    for (const page of this.pages) {
      if (page.state === 'zombie' && this.pins(page) === 0) page.state = 'free'
      if (page.state !== 'living' || this.#isLiving(page)) continue
      add(page.notification, takeByte(page.notification, page))
      add(page.notification, this.#event(page.notification))
      if (page.notification) fired.push(page.notification)
      page.state = this.pins(page) > 0 ? 'deferred' : 'free'
    }
    // Only now: a port is open until what was armed with it has been sent.
    for (const notification of fired) notification.port = undefined
    for (const port of this.ports) if (port.isOpen && !this.#isPortOpen(port)) close(port)
    return [...effects.values()]
  }

  /** Events that are still to come. */
  get armed(): number {
    const living = [
      ...this.pages.filter(page => page.state === 'living'),
      ...this.maps.filter(map => map.isLiving),
    ]
    return living.filter(({ notification }) => notification?.port !== undefined).length
  }

  #event(notification: Notification | undefined): string[] {
    return notification?.port ? this.sent(notification.port) : []
  }

  #isLiving(one: Page | GrantMapping): boolean {
    if (one.isListed && this.isOpen(one.file)) return true
    return this.mappings.some(({ target }) => target === one)
  }

  /** PV lets the pages go with the mapping, HVM with the map. */
  #isPinning(map: GrantMapping): boolean {
    if (map.file.domain.kind === 'hvm') return this.#isLiving(map)
    return this.mappings.some(({ target }) => target === map)
  }

  #isPortOpen(port: LedgerPort): boolean {
    if (this.isDestroyed(port.file.domain)) return false
    if (this.isRead(port)) return true
    return [
      ...this.pages.filter(page => page.state === 'living'),
      ...this.maps.filter(map => map.isLiving),
    ].some(({ notification }) => notification?.port === port)
  }
}

export function eventOf({ file, port }: LedgerPort): string {
  return `event at ${file.domain.domid}:${port}`
}

export function byteOf(frame: number, offset: number): string {
  return `byte ${offset} of frame ${frame}`
}

function handles(map: GrantMapping): number {
  return map.file.domain.kind === 'pv' ? 2 : 1
}

function takeByte(notification: Notification | undefined, page: Page | undefined): string[] {
  const byte = notification?.byte
  if (!notification || byte === undefined || !page) return []
  notification.byte = undefined
  return [byteOf(page.frame, byte)]
}

function close(port: LedgerPort): void {
  port.isOpen = false
  if (port.peer) port.peer.peer = undefined
  port.peer = undefined
}
