/**
 * What differs between kernels that a program can see: one named field for each difference, and
 * flipping any of them makes a conformance case fail.
 */
export interface KernelProfile {
  readonly name: ProfileName
  /** The kernel on which it was seen. */
  readonly release: string
  /** evtchn knows BIND_STATIC; else -ENOSYS (case 225). */
  readonly hasBindStatic: boolean
  /**
   * A private read-only mapping of gntdev can never be made writable, -EACCES (case 109). Where it
   * can, the page is lost by it (case 308).
   */
  readonly sealsPrivateMappings: boolean
}

export const PROFILE_NAMES = ['linux-6.1', 'linux-6.12'] as const
/** A kernel whose behaviour the simulators know, by its release. */
export type ProfileName = (typeof PROFILE_NAMES)[number]
export const DEFAULT_PROFILE: ProfileName = 'linux-6.12'

export const PROFILES: Readonly<Record<ProfileName, KernelProfile>> = {
  'linux-6.1': {
    name: 'linux-6.1',
    release: '6.1.192',
    hasBindStatic: false,
    sealsPrivateMappings: false,
  },
  'linux-6.12': {
    name: 'linux-6.12',
    release: '6.12.117',
    hasBindStatic: true,
    sealsPrivateMappings: true,
  },
}

/** Whether a string from outside names a profile. */
export function isProfileName(name: string): name is ProfileName {
  return (PROFILE_NAMES as readonly string[]).includes(name)
}
