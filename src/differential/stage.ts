import type { Puppet } from '../conformance/puppet.ts'
import type { LimitName } from '../platform.ts'

/** Where sequences are played: processes of one domain, some of which are killed. */
export interface Stage {
  readonly domid: number
  readonly watchdogMs: number
  /** Whether a process survives a fault, so that it can be provoked and seen. */
  readonly survivesFaults: boolean
  /** The n-th process; a new one after it was killed. */
  puppet(process: number): Promise<Puppet>
  kill(process: number): Promise<void>
  setLimit(name: LimitName, pages: number): Promise<void>
  settle(ms: number): Promise<void>
  /** The model's: whether the kernel's timer would free something now. */
  needsSettling?(): boolean
  /** Ends a sequence: every process has nothing open and nothing mapped. */
  reset(): Promise<void>
}
