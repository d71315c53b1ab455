import { encodeU32 } from '../abi/evtchn.ts'
import type { ErrorFacts } from '../base/errors.ts'
import type { EventQueue, PortEnd, PortPeer } from '../kernel/event-queue.ts'
import type { EvtchnFile } from '../kernel/evtchn.ts'
import type { Budget } from './budget.ts'
import { INBOX_DESCRIPTORS, INBOX_PAGES, Inbox } from './inbox.ts'
import { SharedPortBits } from './shared-port-bits.ts'

/** A bound port, with the place in shared memory where it is sent to. */
export class PortEntry extends SharedPortBits implements PortEnd {
  readonly queue: LinkQueue
  readonly port: number
  readonly inbox: Inbox
  /** What it is connected to, and the number of that connection: 0 while there is none. */
  peer: { readonly domid: number; readonly port: number } | undefined
  serial = 0
  /** The answer to the call that bound it has told its client of it. */
  isTold = false
  /** Before that an event came: the answer tells of it too, and no message is needed. */
  isRaised = false

  constructor(queue: LinkQueue, port: number, inbox: Inbox) {
    super(inbox.states, inbox.takeSlot())
    this.queue = queue
    this.port = port
    this.inbox = inbox
  }

  get file(): EvtchnFile {
    return this.queue.file
  }

  connected(domid: number, port: number): void {
    this.peer = { domid, port }
    this.serial = this.queue.links.serial()
    this.inbox.setConnection(this.slot, this.serial)
  }

  disconnected(): void {
    this.peer = undefined
    this.serial = 0
    this.inbox.setConnection(this.slot, 0)
  }

  unbound(): void {
    this.disconnected()
    this.queue.dropped(this)
  }

  raise(): void {
    if (!this.send()) return
    if (this.isTold) this.inbox.post(encodeU32(this.port))
    else this.isRaised = true
  }
}

/**
 * All event channels of the machine as shared memory and pipes: the receiving halves that the
 * hypervisor's model speaks to. The host only sends through them for the dead (unmap
 * notifications); the living notify each other.
 */
export class Links {
  readonly #budget: Budget
  #nextInbox = 1
  #nextSerial = 1
  /** Bound ports. */
  size = 0

  constructor(budget: Budget) {
    this.#budget = budget
  }

  /** The receiving half of a new evtchn descriptor; given to the model as its queue factory. */
  readonly queue = (file: EvtchnFile): EventQueue => new LinkQueue(this, file)

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
}

/** The receiving half of one descriptor: an inbox for each domain that may send to it. */
class LinkQueue implements EventQueue {
  readonly links: Links
  readonly file: EvtchnFile
  readonly #inboxes = new Map<number, Inbox>()

  constructor(links: Links, file: EvtchnFile) {
    this.links = links
    this.file = file
  }

  bound(port: number, peer: PortPeer): PortEntry | ErrorFacts {
    // Virtual interrupts and static ports have no sender of their own: the domain itself stands in.
    const sender = 'domid' in peer ? peer.domid : this.file.domid
    let inbox = this.#inboxes.get(sender)
    if (!inbox) {
      const made = this.links.makeInbox(this.file.domid, sender)
      if (!(made instanceof Inbox)) return made
      inbox = made
      this.#inboxes.set(sender, inbox)
    }
    const entry = new PortEntry(this, port, inbox)
    this.links.size++
    if (peer.kind === 'interdomain') entry.connected(peer.domid, peer.port)
    return entry
  }

  /** A port of it was let go: its place in its inbox is free. */
  dropped({ inbox, slot }: PortEntry): void {
    this.links.size--
    inbox.freeSlot(slot)
    if (!inbox.isEmpty) return
    this.links.dropInbox(this.file.domid, inbox)
    this.#inboxes.delete(inbox.sender)
  }
}
