import { encodeU32 } from '../abi/evtchn.ts'
import type { ErrorFacts } from '../base/errors.ts'
import type { EventQueue, PortPeer } from '../kernel/event-queue.ts'
import type { EvtchnFile } from '../kernel/evtchn.ts'
import type { Budget } from './budget.ts'
import { INBOX_DESCRIPTORS, INBOX_PAGES, Inbox } from './inbox.ts'
import { SharedPortBits } from './shared-port-bits.ts'

/** A bound port, with the place in shared memory where it is sent to. */
export class PortEntry extends SharedPortBits {
  readonly port: number
  readonly file: EvtchnFile
  readonly inbox: Inbox
  /** What it is connected to, and the number of that connection: 0 while there is none. */
  peer: { domid: number; port: number } | undefined
  serial = 0
  /** The answer to the call that bound it has told its client of it. */
  isTold = false
  /** Before that an event came: the answer tells of it too, and no message is needed. */
  isRaised = false

  constructor(file: EvtchnFile, port: number, inbox: Inbox) {
    super(inbox.states, inbox.takeSlot())
    this.file = file
    this.port = port
    this.inbox = inbox
  }

  get domid(): number {
    return this.file.domid
  }
}

/**
 * All event channels of the machine as shared memory and pipes: the receiving halves that the
 * hypervisor's model speaks to, and the one place where a port is found by its name. The host only
 * sends through them for the dead (unmap notifications); the living notify each other.
 */
export class Links {
  readonly #ports = new Map<number, PortEntry>()
  readonly #budget: Budget
  #nextInbox = 1
  #nextSerial = 1

  constructor(budget: Budget) {
    this.#budget = budget
  }

  /** The receiving half of a new evtchn descriptor; given to the model as its queue factory. */
  readonly queue = (file: EvtchnFile): EventQueue => new LinkQueue(this, file)

  find(domid: number, port: number): PortEntry | undefined {
    return this.#ports.get(nameOf(domid, port))
  }

  add(entry: PortEntry): void {
    this.#ports.set(nameOf(entry.domid, entry.port), entry)
  }

  remove(entry: PortEntry): void {
    this.#ports.delete(nameOf(entry.domid, entry.port))
  }

  /** A new inbox of a domain, or the facts when it may have no more. */
  makeInbox(domid: number, sender: number): Inbox | ErrorFacts {
    const budget = this.#budget
    const refusal = budget.takeDescriptors(domid, INBOX_DESCRIPTORS)
    if (refusal) return refusal
    const tooMuch = budget.takeMemory(domid, domid, INBOX_PAGES)
    if (tooMuch) budget.giveDescriptors(domid, INBOX_DESCRIPTORS)
    return tooMuch ?? new Inbox(this.#nextInbox++, sender)
  }

  dropInbox(domid: number, inbox: Inbox): void {
    inbox.close()
    this.#budget.giveDescriptors(domid, INBOX_DESCRIPTORS)
    this.#budget.giveMemory(domid, domid, INBOX_PAGES)
  }

  serial(): number {
    const serial = this.#nextSerial
    this.#nextSerial = serial === 0xffffffff ? 1 : serial + 1
    return serial
  }

  get size(): number {
    return this.#ports.size
  }
}

/** A port of the machine as one number: a domid has 16 bits. */
function nameOf(domid: number, port: number): number {
  return port * 2 ** 16 + domid
}

/** The receiving half of one descriptor: an inbox for each domain that may send to it. */
class LinkQueue implements EventQueue {
  readonly #links: Links
  readonly #file: EvtchnFile
  readonly #inboxes = new Map<number, Inbox>()

  constructor(links: Links, file: EvtchnFile) {
    this.#links = links
    this.#file = file
  }

  bound(port: number, peer: PortPeer): ErrorFacts | undefined {
    // Virtual interrupts and static ports have no sender of their own: the domain itself stands in.
    const sender = 'domid' in peer ? peer.domid : this.#file.domid
    let inbox = this.#inboxes.get(sender)
    if (!inbox) {
      const made = this.#links.makeInbox(this.#file.domid, sender)
      if (!(made instanceof Inbox)) return made
      inbox = made
      this.#inboxes.set(sender, inbox)
    }
    const entry = new PortEntry(this.#file, port, inbox)
    this.#links.add(entry)
    if (peer.kind === 'interdomain') this.#connect(entry, peer.domid, peer.port)
    return undefined
  }

  connected(port: number, peerDomid: number, peerPort: number): void {
    const entry = this.#find(port)
    if (entry) this.#connect(entry, peerDomid, peerPort)
  }

  disconnected(port: number): void {
    const entry = this.#find(port)
    if (!entry) return
    entry.peer = undefined
    entry.serial = 0
    entry.inbox.setConnection(entry.slot, 0)
  }

  unbound(port: number): void {
    const entry = this.#find(port)
    if (!entry) return
    this.disconnected(port)
    this.#links.remove(entry)
    entry.inbox.freeSlot(entry.slot)
    if (entry.inbox.isEmpty) {
      this.#links.dropInbox(this.#file.domid, entry.inbox)
      this.#inboxes.delete(entry.inbox.sender)
    }
  }

  raise(port: number): void {
    const entry = this.#find(port)
    if (!entry?.send()) return
    if (entry.isTold) entry.inbox.post(encodeU32(port))
    else entry.isRaised = true
  }

  #connect(entry: PortEntry, domid: number, port: number): void {
    entry.peer = { domid, port }
    entry.serial = this.#links.serial()
    entry.inbox.setConnection(entry.slot, entry.serial)
  }

  #find(port: number): PortEntry | undefined {
    const entry = this.#links.find(this.#file.domid, port)
    return entry?.file === this.#file ? entry : undefined
  }
}
