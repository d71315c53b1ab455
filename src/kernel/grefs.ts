import { type Refs, widened } from '../hypervisor/grant-table.ts'
import type { Domain } from './domain.ts'
import { clearsByte, fireEvent, releasePort } from './unmap-notify.ts'

const FIRST_SIZE = 512

/**
 * What gntalloc knows of each page that it granted, whatever descriptor it belongs to: users and
 * notification, in flat arrays by ref, since a live page has exactly one ref. And how many pages
 * count against the limit. Source: drivers/xen/gntalloc.c, struct gntalloc_gref.
 */
export class Grefs {
  readonly #domain: Domain
  #users = new Uint32Array(FIRST_SIZE)
  #pids = new Uint32Array(FIRST_SIZE)
  #actions = new Uint8Array(FIRST_SIZE)
  #offsets = new Uint16Array(FIRST_SIZE)
  #ports = new Uint32Array(FIRST_SIZE)
  /** Users that nobody will ever take back, by ref. */
  readonly #lost = new Map<number, number>()
  /** Pages that count against the limit. */
  pagesInUse = 0

  constructor(domain: Domain) {
    this.#domain = domain
  }

  /** Pages in a descriptor's list: one user each. */
  add(refs: Refs, pid: number): void {
    const size = this.#domain.xen.grants.size
    if (size > this.#users.length) this.#reserve(size)
    const [users, pids, actions] = [this.#users, this.#pids, this.#actions]
    for (let i = 0; i < refs.length; i++) {
      const ref = refs[i] as number
      users[ref] = 1
      pids[ref] = pid
      actions[ref] = 0
    }
    this.pagesInUse += refs.length
  }

  /** One user more of each page. */
  hold(refs: Refs): void {
    const users = this.#users
    for (let i = 0; i < refs.length; i++) {
      const ref = refs[i] as number
      users[ref] = (users[ref] as number) + 1
    }
  }

  /** One user less; a page without any is deleted: byte, then event, then the grant ends. */
  drop(refs: Refs): void {
    const users = this.#users
    const actions = this.#actions
    let used = 0
    for (let i = 0; i < refs.length; i++) {
      const ref = refs[i] as number
      const left = (users[ref] as number) - 1
      users[ref] = left
      if (left > 0) used++
      else if (actions[ref] !== 0) this.#fire(ref)
    }
    if (used === refs.length) return
    const unused = used === 0 ? refs : refs.filter(ref => users[ref] === 0)
    const { grantRefs, profile } = this.#domain
    const ended = grantRefs.end(unused)
    this.pagesInUse -= profile.freesByTimer ? unused.length : ended
  }

  /** Frees what a peer still mapped when it was dropped, where no timer does (do_cleanup). */
  cleanUp(): void {
    const { grantRefs, profile } = this.#domain
    if (!profile.freesByTimer) this.pagesInUse -= grantRefs.retry()
  }

  /** A user of the page is gone and stays counted: nothing will ever free it. */
  lose(ref: number): void {
    this.#lost.set(ref, (this.#lost.get(ref) ?? 0) + 1)
  }

  /** Arms or disarms; the reference to the new port is already taken, the old one goes here. */
  setNotify(ref: number, action: number, offset: number, port: number): void {
    releasePort(this.#domain, this.#actions[ref] ?? 0, this.#ports[ref] ?? 0)
    this.#actions[ref] = action
    this.#offsets[ref] = offset
    this.#ports[ref] = port
  }

  /** Pages with a user who could let go: their refs, and the process that allocated each. */
  *live(): Generator<{ ref: number; pid: number }> {
    for (let ref = 0; ref < this.#users.length; ref++) {
      const users = this.#users[ref] ?? 0
      const isHeld = users > 0 && users > (this.#lost.get(ref) ?? 0)
      if (isHeld) yield { ref, pid: this.#pids[ref] ?? 0 }
    }
  }

  #fire(ref: number): void {
    const { hypervisor, xen } = this.#domain
    const action = this.#actions[ref] ?? 0
    if (clearsByte(action)) {
      hypervisor.pages.clearByte(xen.grants.frame(ref), this.#offsets[ref] ?? 0)
    }
    fireEvent(this.#domain, action, this.#ports[ref] ?? 0)
    this.#actions[ref] = 0
  }

  #reserve(refs: number): void {
    let size = this.#users.length
    while (size < refs) size *= 2
    this.#users = widened(this.#users, new Uint32Array(size))
    this.#pids = widened(this.#pids, new Uint32Array(size))
    this.#actions = widened(this.#actions, new Uint8Array(size))
    this.#offsets = widened(this.#offsets, new Uint16Array(size))
    this.#ports = widened(this.#ports, new Uint32Array(size))
  }
}
