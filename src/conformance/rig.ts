import type { KernelProfile } from '../kernel/profiles.ts'
import type { Capability, LimitName } from '../platform.ts'
import type { Puppet } from './puppet.ts'

/** Another domain of the same machine, for the cases that self-grants cannot show. */
export interface RigDomain {
  readonly domid: number
  puppet(): Promise<Puppet>
  /** The domain dies as on Xen: none of its code runs again. */
  destroy(): Promise<void>
}

/**
 * The domain that maps what ours grants and grants what ours maps, where a grant to ourselves would
 * take our own page away. Its kernel is of the same release, and PV.
 */
export interface RigPeer {
  readonly domid: number
  /** The puppet in it that lives on from case to case. */
  puppet(): Promise<Puppet>
}

/** The thing under test: a machine, the domain that we are in, and puppets in it. */
export interface Rig {
  readonly name: 'sim' | 'host' | 'xen'
  /** As `uname -r` says it, or the release that a simulator imitates. */
  readonly kernel: string
  /** What its kernel does where kernels differ: the cases ask the fields. */
  readonly profile: KernelProfile
  /** Version of the hypervisor, where it is a real one: `4.17.7`. */
  readonly xen?: string
  /** How our domain's kernel maps grants. */
  readonly kind: 'pv' | 'hvm'
  /** Absent in PV, where a grant to ourselves shows the same. */
  readonly peer?: RigPeer
  /** What puppets of this rig can do besides; a case that needs something else is skipped. */
  readonly capabilities: ReadonlySet<Capability>
  readonly domid: number
  /** After this long a wait for something that must happen fails its case. */
  readonly watchdogMs: number
  /** The n-th (from 0) of the puppets that live on from case to case; made when first asked for. */
  puppet(n: number): Promise<Puppet>
  /** A puppet of this case alone, which may be killed. */
  disposable(): Promise<Puppet>
  /**
   * A puppet of this case alone that forks, survives faults, is interrupted by signals and makes
   * calls beyond the seam; where the rig has the capability for it.
   */
  able?(): Promise<Puppet>
  /** A new domain; where the rig has the capability `two-domains`. */
  otherDomain?(): Promise<RigDomain>
  getLimit(name: LimitName): Promise<number>
  setLimit(name: LimitName, pages: number): Promise<void>
  /** Whether time passes when we say so, and not by itself as on real Xen. */
  readonly isTimeOurs: boolean
  /** Lets `ms` pass for the kernel: by hand where the time is ours, else by waiting. */
  settle(ms: number): Promise<void>
  /**
   * Ends a case: resets the puppets, ends the disposable ones, destroys other domains, and throws
   * when the machine still holds something, where the rig can know. As new afterwards, either way.
   */
  clean(): Promise<void>
  close(): Promise<void>
}
