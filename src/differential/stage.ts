import type { Puppet } from '../conformance/puppet.ts'
import type { Address, LimitName } from '../platform.ts'

/** How many domains a sequence has. */
export type Domains = 1 | 2

/** Where sequences are played: processes of one domain or two, some of which are killed. */
export interface Stage {
  /** Of our domain, and of the other where there is one. */
  readonly domids: readonly [number, number?]
  readonly watchdogMs: number
  /** Whether a process survives a fault, so that it can be provoked and seen. */
  readonly survivesFaults: boolean
  /** Where every process has its arena, if not where the kernel puts it. */
  readonly arenaAt?: Address
  /** Starts a sequence: the other domain is there, where it is to be. */
  begin(): Promise<void>
  /** The n-th process; a new one after it was killed. */
  puppet(process: number): Promise<Puppet>
  kill(process: number): Promise<void>
  /** Destroys the other domain, until the next sequence begins. */
  destroyOther(): Promise<void>
  /** Of our domain. */
  setLimit(name: LimitName, pages: number): Promise<void>
  settle(ms: number): Promise<void>
  /** The model's: whether the kernel's timer would free something now. */
  needsSettling?(): boolean
  /** Ends a sequence: every process has nothing open and nothing mapped. */
  reset(): Promise<void>
}
