import { type ErrnoName, errnoName, errnoText } from '../abi/errno.ts'
import { type GntstName, gntstName } from '../abi/grant-table.ts'
import type { ModuleName } from '../abi/modules.ts'

/** What is known about a refusal, for people and handlers. Never compared by conformance. */
export interface ErrorFacts {
  domid?: number
  ref?: number
  port?: number
  index?: number
  count?: number
  path?: string
  /** The hypervisor's own status, where the driver hides it behind an errno. */
  gntst?: number
  /** The limit that was hit, as a person would name it: `'gntalloc limit'`. */
  limit?: string
  /** What it is set to, in `limitUnit`: `'pages in domain 3'`. */
  limitValue?: number
  limitUnit?: string
  /** What the platform calls that limit: `'gntalloc.limit'`. */
  knob?: string
  used?: number
  wanted?: number
  /** The kernel module that is not loaded. */
  module?: ModuleName
  /** What to do about it: a command, a file, an option. */
  fix?: string
}

/**
 * Marks our classes so that `instanceof` holds across two copies of the package in one program.
 */
function brand(name: string): symbol {
  return Symbol.for(`interdom.${name}`)
}

function branded(value: unknown, mark: symbol): boolean {
  return typeof value === 'object' && value !== null && mark in value
}

/**
 * The system said no: Node's own shape (`code`, negative `errno`, `syscall`), so that existing
 * handlers work, and the facts that the platform could explain.
 */
export class XenError extends Error {
  static readonly #mark: symbol = brand('XenError')
  readonly code: string
  /** Negative, as in Node's system errors. */
  readonly errno: number
  /** `'ioctl GNTDEV_MAP_GRANT_REF'`, `'mmap gntdev'`, `'open gntalloc'`. */
  readonly syscall: string
  readonly domid?: number
  readonly ref?: number
  readonly port?: number
  readonly index?: number
  readonly path?: string
  /** `'GNTST_bad_gntref'` when the hypervisor's status is known. */
  readonly gntst?: GntstName

  constructor(errno: number, syscall: string, facts: ErrorFacts = {}, options?: ErrorOptions) {
    const number = -Math.abs(errno)
    super(messageOf(number, syscall, facts), options)
    this.name = 'XenError'
    this.code = errnoName(number)
    this.errno = number
    this.syscall = syscall
    if (facts.domid !== undefined) this.domid = facts.domid
    if (facts.ref !== undefined) this.ref = facts.ref
    if (facts.port !== undefined) this.port = facts.port
    if (facts.index !== undefined) this.index = facts.index
    if (facts.path !== undefined) this.path = facts.path
    if (facts.gntst !== undefined) this.gntst = gntstName(facts.gntst)
    Object.defineProperty(this, XenError.#mark, { value: true })
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return branded(value, XenError.#mark)
  }
}

/** Codes of {@link ProtocolError}: stable, while messages may change. */
export type ProtocolCode =
  | 'ERR_HOST_PROTOCOL'
  | 'ERR_RING_INDEX'
  | 'ERR_VCHAN_LIVE'
  | 'ERR_VCHAN_ORDER'
  | 'ERR_XS_PACKET'

/** The peer broke the protocol: the channel is dead, and the offending numbers are in `facts`. */
export class ProtocolError extends Error {
  static readonly #mark: symbol = brand('ProtocolError')
  readonly code: ProtocolCode
  readonly facts: Readonly<Record<string, unknown>>

  constructor(code: ProtocolCode, message: string, facts: Record<string, unknown> = {}) {
    super(message)
    this.name = 'ProtocolError'
    this.code = code
    this.facts = facts
    Object.defineProperty(this, ProtocolError.#mark, { value: true })
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return branded(value, ProtocolError.#mark)
  }
}

/** Use after close: a bug of the caller, not of the system. */
export class ClosedError extends Error {
  static readonly #mark: symbol = brand('ClosedError')
  readonly code = 'ERR_CLOSED'

  constructor(what: string) {
    super(`${what} is closed`)
    this.name = 'ClosedError'
    Object.defineProperty(this, ClosedError.#mark, { value: true })
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return branded(value, ClosedError.#mark)
  }
}

/** Throws for a negative answer of the seam; passes any other through. */
export function checked(result: number, syscall: string, facts?: () => ErrorFacts): number {
  if (result < 0) throw new XenError(result, syscall, facts?.())
  return result
}

/** `ENOSPC: ioctl GNTALLOC_ALLOC_GREF: gntalloc limit 8 pages, 7 in use, 2 wanted; raise …` */
function messageOf(errno: number, syscall: string, facts: ErrorFacts): string {
  const parts: string[] = []
  if (facts.limit !== undefined) {
    const numbers = [
      facts.used === undefined ? '' : `${facts.used} in use`,
      facts.wanted === undefined ? '' : `${facts.wanted} wanted`,
    ].filter(Boolean)
    const limit = [facts.limit, facts.limitValue, facts.limitUnit].filter(
      part => part !== undefined,
    )
    parts.push([limit.join(' '), ...numbers].join(', '))
  } else {
    parts.push(errnoText(errno).toLowerCase())
  }
  const where = [
    facts.domid === undefined ? '' : `domid ${facts.domid}`,
    facts.ref === undefined ? '' : `ref ${facts.ref}`,
    facts.port === undefined ? '' : `port ${facts.port}`,
    facts.index === undefined ? '' : `index ${facts.index}`,
    facts.path ?? '',
    facts.gntst === undefined ? '' : gntstName(facts.gntst),
  ].filter(Boolean)
  if (where.length > 0) parts.push(`(${where.join(', ')})`)
  const fix = facts.fix === undefined ? '' : `; ${facts.fix}`
  return `${errnoName(errno) satisfies ErrnoName | string}: ${syscall}: ${parts.join(' ')}${fix}`
}
