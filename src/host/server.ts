import { chmodSync, chownSync, existsSync, unlinkSync } from 'node:fs'
import { ERRNO } from '../abi/errno.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { ManualClock } from '../base/clock.ts'
import { ProtocolError, XenError } from '../base/errors.ts'
import type { Domain } from '../kernel/domain.ts'
import { Machine } from '../kernel/machine.ts'
import type { ProfileName } from '../kernel/profiles.ts'
import { store } from '../memory/atomics.ts'
import { close, O_RDONLY, open } from '../native/files.ts'
import * as sockets from '../native/sockets.ts'
import { MSG_DONTWAIT } from '../native/sockets.ts'
import { EpollEvents, epoll, epollAdd, epollDelete, POLLIN } from '../native/waiting.ts'
import { administer } from './administration.ts'
import { ChunkStore } from './chunk-store.ts'
import { controlPath, domainPath } from './directory.ts'
import { HostLog } from './host-log.ts'
import { LOOP_EVENTS_MAX, QUEUED_CALLS_MAX, SESSIONS_PER_DOMAIN_MAX } from './limits.ts'
import { Links } from './links.ts'
import { type Memfd, readOnlyMemfd } from './memfd.ts'
import { type Received, receiveFramed, receiveRoom, sendFramed } from './message-socket.ts'
import { type Answer, Session } from './session.ts'
import { type BodyReader, BodyWriter, FLAG_ONE_WAY, FLAG_QUEUED, OP } from './wire.ts'

export interface ServerOptions {
  readonly directory: string
  readonly kernel: ProfileName
  readonly limits: Readonly<Record<string, number>>
  /** `manual`: the time of the drivers' timers stands still until it is advanced. */
  readonly clock: 'real' | 'manual'
  /** Leave after so long without a client; 0 stays for ever. Milliseconds. */
  readonly idleMs: number
}

/** Calls without an answer of their own and without an effect that others could see. */
const QUEUEABLE: ReadonlySet<number> = new Set([OP.ioctl, OP.mmap, OP.munmap, OP.book])

type Handler = (op: number, body: BodyReader, answer: BodyWriter) => Answer

/**
 * The host: one machine, its domains' sockets, and a loop that answers one request at a time. It
 * never waits for a client: a reply that does not fit a client's socket ends that client.
 */
export class Server {
  readonly options: ServerOptions
  readonly clock: ManualClock = new ManualClock()
  readonly chunks: ChunkStore = new ChunkStore()
  readonly links: Links = new Links()
  readonly machine: Machine
  readonly sessions: Map<number, Session> = new Map<number, Session>()
  readonly #epoll: number
  readonly #incoming = receiveRoom()
  /** The answer being written: to one client at a time. */
  readonly #outgoing = new BodyWriter()
  readonly #handlers = new Map<number, () => void>()
  readonly #limits = new Map<Domain, Memfd>()
  readonly #listeners = new Map<number, number>()
  /** Our ends of the lifelines, by the session's socket. */
  readonly #lifelines = new Map<number, number>()
  readonly #startedAt = performance.now()
  #idleSince = performance.now()
  /** Domains of first use without a process: they go when nothing of theirs is mapped. */
  readonly #leaving = new Set<Domain>()
  readonly #staying = new WeakSet<Domain>()
  readonly #log = new HostLog()
  /** What a lifeline carries. */
  readonly #nothing = new Uint8Array(1)
  /** Let go when descriptors run out, so that whoever knocks can be turned away. */
  #spareFd = open('/dev/null', O_RDONLY)
  #isStopping = false

  constructor(options: ServerOptions) {
    this.options = options
    this.machine = new Machine({
      pages: this.chunks,
      clock: this.clock,
      eventQueue: this.links.queue,
    })
    this.#epoll = epoll()
    if (this.#epoll < 0) throw new XenError(this.#epoll, 'epoll_create1')
    this.#listen(controlPath(options.directory), () => undefined)
  }

  /** Runs until told to stop: by `stop()`, or by bytes on the descriptor `stopFd`. */
  run(stopFd: number): void {
    this.#watch(stopFd, () => this.stop())
    const events = new EpollEvents(LOOP_EVENTS_MAX)
    while (!this.#isStopping) {
      const count = events.wait(this.#epoll, this.#timeout())
      this.#guarded(() => this.#tick())
      for (let i = 0; i < count; i++) this.#guarded(this.#handlers.get(events.data(i)))
      for (const domain of this.#leaving) this.#guarded(() => this.#leave(domain))
      if (this.#isIdleForLong()) this.stop()
    }
    this.#close()
  }

  /** One client's doing never ends the host for the others. */
  #guarded(handler: (() => void) | undefined): void {
    try {
      handler?.()
    } catch (error) {
      this.#log.say('failed', error)
    }
  }

  /** A page that clients may read: u32 gntdev.limit. */
  limitsOf(domain: Domain): Memfd {
    const known = this.#limits.get(domain)
    if (known) return known
    const made = readOnlyMemfd('interdom-limits', PAGE_SIZE)
    if (typeof made === 'number') throw new XenError(made, 'memfd_create')
    this.#limits.set(domain, made)
    this.publishLimits(domain)
    return made
  }

  /** Shows a domain's limits, as they are now, to its clients. */
  publishLimits(domain: Domain): void {
    const page = this.#limits.get(domain)
    if (page) store(page.words, 0, Math.min(domain.limits['gntdev.limit'], 0xffffffff))
  }

  stop(): void {
    this.#isStopping = true
  }

  /** The domain and its socket, made on first use: then it goes with its last process. */
  domain(
    domid: number | undefined,
    options: { kernel?: ProfileName; stays?: boolean } = {},
  ): Domain {
    const existing = domid === undefined ? undefined : this.machine.domain(domid)
    if (existing?.isDying) {
      throw new Error(`domain ${domid} was destroyed, and others still map pages of it`)
    }
    if (existing) {
      if (options.stays) this.#staying.add(existing)
      return existing
    }
    const domain = this.machine.createDomain({
      ...(domid === undefined ? {} : { domid }),
      profile: options.kernel ?? this.options.kernel,
      limits: this.options.limits,
    })
    const socket = this.#listen(domainPath(this.options.directory, domain.domid), () => domain)
    this.#listeners.set(domain.domid, socket)
    if (options.stays || domid === undefined) this.#staying.add(domain)
    return domain
  }

  /**
   * Makes another user the processes of a domain: the socket is theirs, and the directory lets
   * everybody through to what is. Only root can give a file away.
   */
  give(domain: Domain, uid: number): void {
    chownSync(domainPath(this.options.directory, domain.domid), uid, -1)
    chmodSync(this.options.directory, 0o711)
    this.#staying.add(domain)
  }

  /** Destroys a domain as `xl destroy` does: its processes end without byte or event. */
  destroy(domid: number): boolean {
    const domain = this.machine.domain(domid)
    if (!domain) return false
    this.machine.destroyDomain(domid)
    this.#leaving.delete(domain)
    this.#limits.get(domain)?.close()
    this.#limits.delete(domain)
    for (const [socket, session] of this.sessions) {
      if (session.domain === domain) this.#drop(socket)
    }
    const listener = this.#listeners.get(domid)
    if (listener !== undefined) this.#unlisten(domid, listener)
    return true
  }

  #listen(path: string, domain: () => Domain | undefined): number {
    const socket = sockets.socket(sockets.SOCK_SEQPACKET | sockets.SOCK_NONBLOCK)
    if (existsSync(path)) unlinkSync(path)
    const bound = sockets.bind(socket, path)
    // Before anybody can connect: what may be, whatever the umask says.
    if (bound >= 0) chmodSync(path, 0o600)
    for (const result of [socket, bound, sockets.listen(socket, 128)]) {
      if (result < 0) throw new XenError(result, 'listen', { path })
    }
    this.#watch(socket, () => {
      for (let i = 0; i < LOOP_EVENTS_MAX; i++) {
        const client = sockets.accept(socket, sockets.SOCK_NONBLOCK)
        if (client === -ERRNO.EMFILE) this.#turnAway(socket)
        if (client < 0) return
        const owner = domain()
        if (owner) this.#admit(client, owner)
        else this.#admitAdministrator(client)
      }
    })
    return socket
  }

  /** Without this the socket would stay readable, and the loop spin on it. */
  #turnAway(socket: number): void {
    close(this.#spareFd)
    const client = sockets.accept(socket, sockets.SOCK_NONBLOCK)
    if (client >= 0) close(client)
    this.#spareFd = open('/dev/null', O_RDONLY)
    this.#log.say('turned away', 'the host has no descriptor left (RLIMIT_NOFILE)')
  }

  /** A domain of first use goes with its last process, once nobody maps a page of it. */
  #leave(domain: Domain): void {
    // Whoever is at the door keeps it.
    this.#handlers.get(this.#listeners.get(domain.domid) ?? -1)?.()
    const isNeeded = domain.processes.size > 0 || this.#staying.has(domain)
    if (isNeeded || domain.isDying) this.#leaving.delete(domain)
    else if (!domain.isMapped) this.destroy(domain.domid)
  }

  #unlisten(domid: number, socket: number): void {
    this.#listeners.delete(domid)
    this.#unwatch(socket)
    const path = domainPath(this.options.directory, domid)
    if (existsSync(path)) unlinkSync(path)
  }

  #admit(client: number, domain: Domain): void {
    const peer = sockets.peerCredentials(client)
    if (typeof peer === 'number' || domain.isDying) {
      close(client)
      return
    }
    if (domain.processes.size >= SESSIONS_PER_DOMAIN_MAX) {
      close(client)
      this.#log.say('turned away', `domain ${domain.domid} has ${domain.processes.size} processes`)
      return
    }
    const session = new Session(this, domain, peer.pid)
    this.sessions.set(client, session)
    this.#watch(client, () =>
      this.#serve(client, (op, body, answer) => {
        if (op === OP.hello) return session.greet(body, answer, () => this.#lifeline(client))
        return session.handle(op, body, answer)
      }),
    )
  }

  #admitAdministrator(client: number): void {
    this.#watch(client, () =>
      this.#serve(client, (op, body, answer) => {
        if (op !== OP.admin) throw new ProtocolError('ERR_HOST_PROTOCOL', 'not an order')
        answer.text(JSON.stringify(administer(this, JSON.parse(body.text()))))
        return { result: 0 }
      }),
    )
  }

  /** Answers one request of a client, what it queued first; one that is none ends the client. */
  #serve(client: number, handle: Handler): void {
    try {
      const request = receiveFramed(client, this.#incoming, MSG_DONTWAIT)
      if (request === -ERRNO.EAGAIN) return
      if (request === undefined || typeof request === 'number') {
        this.#drop(client)
        return
      }
      for (const fd of request.fds) close(fd)
      const { header, body } = request
      if ((header.flags & FLAG_QUEUED) !== 0) this.#serveQueued(body, handle)
      if ((header.flags & FLAG_ONE_WAY) !== 0) {
        if (header.op === OP.none) return
        throw new ProtocolError('ERR_HOST_PROTOCOL', `operation ${header.op} without a reply`)
      }
      const answer = handle(header.op, body, this.#outgoing.cut())
      if (!this.#reply(client, header, answer)) this.#drop(client)
    } catch (error) {
      this.#drop(client)
      this.#log.say('client dropped', error)
    }
  }

  #serveQueued(body: BodyReader, handle: Handler): void {
    const count = body.u32()
    if (count > QUEUED_CALLS_MAX) {
      const reason = `${count} queued calls in a message, at most ${QUEUED_CALLS_MAX}`
      throw new ProtocolError('ERR_HOST_PROTOCOL', reason)
    }
    for (let i = 0; i < count; i++) {
      const op = body.u32()
      if (!QUEUEABLE.has(op)) {
        throw new ProtocolError('ERR_HOST_PROTOCOL', `operation ${op} cannot be queued`)
      }
      const { result } = handle(op, body.inner(), this.#outgoing.cut())
      if (result === 0) continue
      throw new ProtocolError('ERR_HOST_PROTOCOL', `queued operation ${op} answered ${result}`)
    }
  }

  #reply(client: number, request: Received['header'], answer: Answer): boolean {
    const { result, fds, ownedFds } = answer
    const { op, serial } = request
    const header = { op, serial, result, flags: 0, length: 0 }
    const all = ownedFds ? [...ownedFds, ...(fds ?? [])] : fds
    const sent = sendFramed(client, header, this.#outgoing, all, MSG_DONTWAIT)
    for (const fd of ownedFds ?? []) close(fd)
    return sent >= 0
  }

  /** A stream socket that carries nothing and ends when either side does. */
  #lifeline(client: number): number {
    const pair = sockets.socketpair(sockets.SOCK_STREAM)
    if (typeof pair === 'number') throw new XenError(pair, 'socketpair')
    const before = this.#lifelines.get(client)
    if (before !== undefined) this.#unwatch(before)
    this.#lifelines.set(client, pair[0])
    // A worker that was terminated closes what its event loop has, and leaves its call socket open.
    this.#watch(pair[0], () => {
      // An event of this turn can be of a descriptor that had this number before.
      const length = sockets.receive(pair[0], this.#nothing, MSG_DONTWAIT)
      if (length !== -ERRNO.EAGAIN) this.#drop(client)
    })
    return pair[1]
  }

  #drop(client: number): void {
    if (!this.#handlers.has(client)) return
    this.#unwatch(client)
    const lifeline = this.#lifelines.get(client)
    if (lifeline !== undefined) this.#unwatch(lifeline)
    this.#lifelines.delete(client)
    const session = this.sessions.get(client)
    if (!session) return
    this.sessions.delete(client)
    this.#guarded(() => session.release())
    if (!this.#staying.has(session.domain)) this.#leaving.add(session.domain)
    if (this.sessions.size === 0) this.#idleSince = performance.now()
  }

  #watch(fd: number, handler: () => void): void {
    this.#handlers.set(fd, handler)
    const result = epollAdd(this.#epoll, fd, POLLIN)
    if (result < 0) throw new XenError(result, 'epoll_ctl')
  }

  #unwatch(fd: number): void {
    this.#handlers.delete(fd)
    epollDelete(this.#epoll, fd)
    close(fd)
  }

  /** Brings the drivers' time up to the machine's, unless it is moved by hand. */
  #tick(): void {
    if (this.options.clock === 'manual') return
    const elapsed = performance.now() - this.#startedAt
    if (elapsed > this.clock.now()) this.clock.advance(elapsed - this.clock.now())
  }

  #timeout(): number {
    const due = this.options.clock === 'real' ? this.clock.nextDueMs : undefined
    const idle = this.options.idleMs > 0 && this.sessions.size === 0 ? this.#idleLeft() : undefined
    const next = Math.min(due ?? Number.POSITIVE_INFINITY, idle ?? Number.POSITIVE_INFINITY)
    return Number.isFinite(next) ? Math.max(0, Math.ceil(next)) : -1
  }

  #idleLeft(): number {
    return this.#idleSince + this.options.idleMs - performance.now()
  }

  #isIdleForLong(): boolean {
    return this.options.idleMs > 0 && this.sessions.size === 0 && this.#idleLeft() <= 0
  }

  #close(): void {
    for (const client of [...this.sessions.keys()]) this.#drop(client)
    for (const [domid, socket] of [...this.#listeners]) this.#unlisten(domid, socket)
    const control = controlPath(this.options.directory)
    if (existsSync(control)) unlinkSync(control)
    for (const fd of [...this.#handlers.keys()]) this.#unwatch(fd)
    this.chunks.close()
    close(this.#spareFd)
    close(this.#epoll)
  }
}
