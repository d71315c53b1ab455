import { chmodSync, chownSync, rmSync } from 'node:fs'
import { ERRNO } from '../abi/errno.ts'
import type { ModuleName } from '../abi/modules.ts'
import { ProtocolError, XenError } from '../base/errors.ts'
import type { Domain } from '../kernel/domain.ts'
import { type DomainLimits, limitFacts } from '../kernel/limits.ts'
import { Machine } from '../kernel/machine.ts'
import { PROFILES, type ProfileName } from '../kernel/profiles.ts'
import { close } from '../native/files.ts'
import * as sockets from '../native/sockets.ts'
import { MSG_DONTWAIT } from '../native/sockets.ts'
import { administer } from './administration.ts'
import type { Answer, LongCall } from './answer.ts'
import { Budget } from './budget.ts'
import { ChunkStore } from './chunk-store.ts'
import { descriptorsForDomains, noDescriptorLeft, tooManyInFlight } from './descriptor-limit.ts'
import { controlPath, domainPath } from './directory.ts'
import { Doors, TurnedAway, tooManyDomains, tooManyOrders } from './doors.ts'
import { DriverClock } from './driver-clock.ts'
import { EventLoop } from './event-loop.ts'
import { HostLog } from './host-log.ts'
import { withCommand } from './knob.ts'
import { Lifelines } from './lifelines.ts'
import { LimitPages } from './limit-pages.ts'
import * as bounds from './limits.ts'
import { Links } from './links.ts'
import { LongCalls } from './long-calls.ts'
import { type Received, receiveFramed, receiveRoom } from './message-socket.ts'
import type { QueuedCall } from './outbox-reader.ts'
import { Outboxes } from './outboxes.ts'
import { sendReply } from './replies.ts'
import { Session } from './session.ts'
import { type BodyReader, BodyWriter, FLAG_ONE_WAY, OP } from './wire.ts'

export interface ServerOptions {
  readonly directory: string
  readonly kernel: ProfileName
  readonly limits: Readonly<Record<string, number>>
  /** `manual`: the time of the drivers' timers stands still until it is advanced. */
  readonly clock: 'real' | 'manual'
  /** Leave after so long without a client; 0 stays for ever. Milliseconds. */
  readonly idleMs: number
}

/** What a new domain is like; what is left out is as the host has it. */
export interface NewDomain {
  readonly kind?: 'pv' | 'hvm'
  readonly kernel?: ProfileName
  readonly limits?: Partial<DomainLimits>
  readonly modules?: readonly ModuleName[]
  /** It stays without a process; otherwise it goes with its last one. */
  readonly stays?: boolean
}

/** Calls whose answer can be known before. */
const QUEUEABLE: ReadonlySet<number> = new Set([OP.ioctl, OP.mmap, OP.munmap, OP.book, OP.place])

/** What a queued call that takes several turns is answered with: nobody waits for its end. */
const TOO_LATE: Answer = { result: -ERRNO.EPROTO }

type Handler = (op: number, body: BodyReader, answer: BodyWriter) => Answer | LongCall

/**
 * The host: one machine, its domains' sockets, and a loop that answers one request at a time. It
 * never waits for a client: a reply that does not fit a client's socket ends that client.
 */
export class Server {
  readonly options: ServerOptions
  readonly clock: DriverClock
  readonly budget: Budget = new Budget(descriptorsForDomains(), id => this.machine.domain(id))
  readonly chunks: ChunkStore = new ChunkStore(this.budget)
  readonly links: Links = new Links(this.budget)
  readonly limitPages: LimitPages = new LimitPages()
  readonly machine: Machine
  readonly sessions: Map<number, Session> = new Map<number, Session>()
  readonly #loop = new EventLoop()
  readonly #log = new HostLog()
  readonly #doors = new Doors(this.#loop, this.#log)
  readonly #longCalls = new LongCalls()
  readonly #outboxes = new Outboxes(this.budget, (client, error) => this.#failed(client, error))
  #incoming = receiveRoom()
  /** The answer being written: to one client at a time. */
  readonly #outgoing = new BodyWriter()
  readonly #listeners = new Map<number, number>()
  readonly #lifelines = new Lifelines(this.#loop)
  #idleSince = performance.now()
  /** Domains of first use without a process: they go when nothing of theirs is mapped. */
  readonly #leaving = new Set<Domain>()
  readonly #staying = new WeakSet<Domain>()
  #administrators = 0
  #isStopping = false

  constructor(options: ServerOptions) {
    this.options = options
    this.clock = new DriverClock(options.clock === 'real' ? () => performance.now() : undefined)
    this.machine = new Machine({
      pages: this.chunks,
      clock: this.clock,
      eventQueue: this.links.queue,
    })
    this.#doors.open(controlPath(options.directory), client => this.#admitAdministrator(client))
  }

  /** Runs until told to stop: by `stop()`, or by bytes on the descriptor `stopFd`. */
  run(stopFd: number): void {
    this.#loop.watch(stopFd, () => this.stop())
    while (!this.#isStopping) {
      const count = this.#loop.wait(this.#timeout())
      this.#guarded(() => this.#tick())
      for (let i = 0; i < count; i++) this.#guarded(this.#loop.handler(i))
      this.#guarded(() => this.#goOn())
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

  stop(): void {
    this.#isStopping = true
  }

  /**
   * The domain and its socket, made on first use: then it goes with its last process. What is said
   * of its kernel, kind, limits and modules counts for one that is made. Throws a TurnedAway when
   * there is no room for another.
   */
  domain(domid: number | undefined, options: NewDomain = {}): Domain {
    const existing = domid === undefined ? undefined : this.machine.domain(domid)
    if (existing?.isDying) {
      throw new Error(`domain ${domid} was destroyed, and others still map pages of it`)
    }
    if (existing) {
      if (options.stays) this.#staying.add(existing)
      return existing
    }
    const count = [...this.machine.domains()].length
    if (count >= bounds.DOMAINS_MAX) throw new TurnedAway(ERRNO.EAGAIN, tooManyDomains(count))
    const domain = this.machine.createDomain({
      ...(domid === undefined ? {} : { domid }),
      ...(options.kind === undefined ? {} : { kind: options.kind }),
      profile: PROFILES[options.kernel ?? this.options.kernel],
      limits: { ...this.options.limits, ...options.limits },
      ...(options.modules === undefined ? {} : { modules: options.modules }),
    })
    const refusal = this.budget.takeDescriptors(domain.domid, bounds.DOMAIN_DESCRIPTORS)
    if (refusal) {
      this.machine.destroyDomain(domain.domid)
      throw new TurnedAway(ERRNO.ENFILE, refusal)
    }
    const path = domainPath(this.options.directory, domain.domid)
    const socket = this.#doors.open(path, client => this.#admit(client, domain))
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
    this.limitPages.drop(domain)
    for (const [socket, session] of this.sessions) {
      if (session.domain === domain) this.#drop(socket)
    }
    const listener = this.#listeners.get(domid)
    if (listener !== undefined) {
      this.#unlisten(domid, listener)
      this.budget.giveDescriptors(domid, bounds.DOMAIN_DESCRIPTORS)
    }
    return true
  }

  /** A domain of first use goes with its last process, once nobody maps a page of it. */
  #leave(domain: Domain): void {
    // Whoever is at the door keeps it.
    this.#loop.look(this.#listeners.get(domain.domid) ?? -1)
    const isNeeded = domain.processes.size > 0 || this.#staying.has(domain)
    if (isNeeded || domain.isDying) this.#leaving.delete(domain)
    else if (!domain.isMapped) this.destroy(domain.domid)
  }

  #unlisten(domid: number, socket: number): void {
    this.#listeners.delete(domid)
    this.#doors.shut(socket, domainPath(this.options.directory, domid))
  }

  #admit(client: number, domain: Domain): void {
    const peer = sockets.peerCredentials(client)
    if (typeof peer === 'number' || domain.isDying) {
      close(client)
      return
    }
    const { size } = domain.processes
    if (size >= domain.limits.maxProcesses) {
      const facts = withCommand(domain, limitFacts(domain, 'maxProcesses', size, 1)) ?? {}
      this.#doors.refuse(client, new TurnedAway(ERRNO.EAGAIN, facts))
      return
    }
    const refusal = this.budget.takeDescriptors(domain.domid, bounds.SESSION_DESCRIPTORS)
    if (refusal) {
      this.#doors.refuse(client, new TurnedAway(ERRNO.ENFILE, refusal))
      return
    }
    const session = new Session(this, domain, peer.pid)
    this.sessions.set(client, session)
    const lifeline = (): number => this.#lifelines.make(client, () => this.#drop(client))
    this.#watch(client, (op, body, answer) => {
      if (op === OP.hello) return session.greet(body, answer, lifeline)
      if (op === OP.outbox && session.isGreeted) return this.#outboxes.open(client, domain, body)
      const answered = session.handle(op, body, answer)
      this.limitPages.publish(domain)
      return answered
    })
  }

  #admitAdministrator(client: number): void {
    if (this.#administrators >= bounds.ADMINISTRATORS_MAX) {
      this.#doors.refuse(client, new TurnedAway(ERRNO.EAGAIN, tooManyOrders(this.#administrators)))
      return
    }
    this.#administrators++
    sockets.refuseDescriptors(client)
    this.#watch(client, (op, body, answer) => {
      if (op !== OP.admin) throw new ProtocolError('ERR_HOST_PROTOCOL', 'not an order')
      answer.text(JSON.stringify(administer(this, JSON.parse(body.text()))))
      return { result: 0 }
    })
  }

  #watch(client: number, handle: Handler): void {
    this.#loop.watch(client, () => this.#serve(client, handle))
  }

  /** Answers one request of a client; one that is none ends the client. */
  #serve(client: number, handle: Handler): void {
    try {
      const domain = this.#longCalls.size > 0 && this.sessions.get(client)?.domain
      if (domain && this.#longCalls.mustWait(client, domain)) {
        this.#loop.pause(client)
        return
      }
      const request = receiveFramed(client, this.#incoming, MSG_DONTWAIT)
      if (request === -ERRNO.EAGAIN) return
      if (request === undefined || typeof request === 'number') {
        this.#drop(client)
        return
      }
      const { op, flags, body } = request
      if (request.fds.length > 0) {
        for (const fd of request.fds) close(fd)
        throw new ProtocolError('ERR_HOST_PROTOCOL', `${request.fds.length} unasked descriptors`)
      }
      if ((flags & FLAG_ONE_WAY) !== 0) {
        if (op === OP.none) return
        throw new ProtocolError('ERR_HOST_PROTOCOL', `operation ${op} without a reply`)
      }
      const answer = handle(op, body, this.#outgoing.cut())
      if (typeof answer === 'function') this.#begin(client, request, answer)
      else this.#reply(client, request, answer)
    } catch (error) {
      this.#failed(client, error)
    }
  }

  #failed(client: number, error: unknown): void {
    // Less than was booked: somebody has lowered the host's limit, or the system has no more.
    const isPoor = error instanceof XenError && /^E[MN]FILE$/.test(error.code)
    const facts = noDescriptorLeft('the host')
    if (isPoor) this.#doors.tell(client, new TurnedAway(ERRNO.ENFILE, facts))
    this.#drop(client)
    this.#log.say('client dropped', error)
  }

  #begin(client: number, request: Received, call: LongCall): void {
    const domain = this.sessions.get(client)?.domain
    if (!domain) return
    this.#longCalls.add({ client, domain, request, call })
    // What it was asked with stays where it was received.
    this.#incoming = receiveRoom()
    this.#loop.pause(client)
  }

  /** A slice of a call that takes long. */
  #goOn(): void {
    const unfinished = this.#longCalls.next()
    if (!unfinished) return
    const { client, request, call, answer } = unfinished
    try {
      const answered = call(answer)
      if (!answered) return
      this.#endLongCall(client)
      this.#loop.resume(client)
      this.#reply(client, request, answered, answer)
    } catch (error) {
      this.#failed(client, error)
    }
  }

  #endLongCall(client: number): void {
    for (const waiting of this.#longCalls.end(client)) this.#loop.resume(waiting)
  }

  readonly #makeQueued = ({ client, op, body }: QueuedCall): void => {
    const session = this.sessions.get(client)
    if (!session || !QUEUEABLE.has(op) || this.#longCalls.has(client)) {
      throw new ProtocolError('ERR_HOST_PROTOCOL', `operation ${op} cannot be queued`)
    }
    const answer = session.handleQueued(op, body, this.#outgoing.cut())
    this.limitPages.publish(session.domain)
    const { result, ownedFds } = typeof answer === 'function' ? TOO_LATE : answer
    if (result === 0 && ownedFds === undefined) return
    // BIND_STATIC answers 0 too, and has descriptors that nobody would take.
    for (const fd of ownedFds ?? []) close(fd)
    throw new ProtocolError('ERR_HOST_PROTOCOL', `queued operation ${op} answered ${result}`)
  }

  #reply(client: number, request: Received, answer: Answer, body = this.#outgoing): void {
    const sent = sendReply(client, request, answer, body)
    if (sent >= 0) return
    if (sent === -ERRNO.ETOOMANYREFS) {
      this.#doors.tell(client, new TurnedAway(ERRNO.ETOOMANYREFS, tooManyInFlight()))
    }
    this.#drop(client)
  }

  #drop(client: number): void {
    if (!this.#loop.has(client)) return
    this.#loop.unwatch(client)
    this.#endLongCall(client)
    this.#lifelines.end(client)
    const session = this.sessions.get(client)
    if (!session) {
      this.#administrators--
      return
    }
    this.#outboxes.empty(this.#makeQueued)
    this.#outboxes.close(client, session.domain.domid)
    this.sessions.delete(client)
    this.#guarded(() => session.release())
    this.budget.giveDescriptors(session.domain.domid, bounds.SESSION_DESCRIPTORS)
    this.limitPages.publish(session.domain)
    if (!this.#staying.has(session.domain)) this.#leaving.add(session.domain)
    if (this.sessions.size === 0) this.#idleSince = performance.now()
  }

  #tick(): void {
    // Whatever the requests of this turn were sent after lies there by now.
    this.#outboxes.empty(this.#makeQueued)
    this.#doors.tick()
    this.clock.catchUp()
  }

  #timeout(): number {
    if (this.#longCalls.size > 0 || this.#outboxes.isBehind) return 0
    const isIdle = this.options.idleMs > 0 && this.sessions.size === 0
    const idle = isIdle ? this.#idleLeft() : Number.POSITIVE_INFINITY
    const next = Math.min(this.clock.dueMs, idle, this.#doors.pausedMs)
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
    rmSync(control, { force: true })
    this.#doors.close()
    this.#loop.close()
    this.chunks.close()
  }
}
