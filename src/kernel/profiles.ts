/**
 * What differs between kernels that a program can see: one named field for each difference. Each is
 * asked where its rule stands in a driver, and flipping any of them makes a conformance case fail.
 */
export interface KernelRules {
  /** What gntalloc and gntdev answer to a call that they do not know (cases 2, 3). */
  readonly unknownIoctl: 'ENOTTY' | 'EINVAL'
  /**
   * A forked child gets the mappings of gntalloc, and in HVM those of gntdev (cases 44, 126). Else
   * they stay with the parent, as those of gntdev in PV do everywhere.
   */
  readonly inheritsMappings: boolean
  /**
   * Mappings are of frames that the kernel does not look at (VM_PFNMAP): it cannot pin them, nor
   * take them out on request, -EINVAL (cases 247, 268). Else of pages as any.
   */
  readonly mapsBareFrames: boolean
  /**
   * SEND_EVENT holds its port: one that no evtchn descriptor has is -EINVAL, and a good one stays
   * open until the notification is gone (cases 71, 81). Else the number alone is kept, and whoever
   * has the port by then sends (case 404).
   */
  readonly holdsNotifyPorts: boolean

  /** ALLOC_GREF compares its count with the limit before it makes room for the refs (case 26). */
  readonly checksCountFirst: boolean
  /**
   * A page that the peer still maps when its last user goes is off the quota, and a timer ends its
   * grant later (cases 58, 60). Else it counts until a call of gntalloc finds it unmapped.
   */
  readonly freesByTimer: boolean
  /** The ref of a freed page is used again (case 226). Else its place in the table is lost. */
  readonly returnsRefs: boolean
  /** munmap of several pages releases each (case 403). Else only the first: others are lost. */
  readonly releasesEveryPage: boolean

  /** gntdev's limit is for each call, -EINVAL; else for all maps together, -ENOMEM (case 92). */
  readonly limitsEachMap: boolean
  /** Default of gntdev's limit, in pages. */
  readonly gntdevLimit: number
  /** What MAP_GRANT_REF answers to elements that cannot be read (case 94). */
  readonly badElements: 'EFAULT' | 'ENOMEM'
  /** A map whose index could not be stored is taken back (case 400). */
  readonly withdrawsUnreadMaps: boolean
  /**
   * An index can be mmapped once, ever (cases 105, 106). Else again once it is unmapped, and in HVM
   * any number of times.
   */
  readonly mapsOnce: boolean
  /** In PV any process with the descriptor may mmap; else only its opener may (case 275). */
  readonly mapsForAnyProcess: boolean
  /** In HVM the byte is cleared before the event is sent, as in PV. */
  readonly clearsByteFirst: boolean
  /**
   * A private read-only mapping of gntdev can never be made writable, -EACCES (case 109). Where it
   * can, the page is lost by it (case 308).
   */
  readonly sealsPrivateMappings: boolean
  /** gntdev knows GRANT_COPY (case 166). */
  readonly hasGrantCopy: boolean

  /** The ring of evtchn starts small and grows; else it has 1024 entries for ever (case 217). */
  readonly ringGrows: boolean
  /** evtchn knows RESTRICT_DOMID; else -ENOSYS (case 209). */
  readonly hasRestrictDomid: boolean
  /** evtchn knows BIND_STATIC; else -ENOSYS (case 225). */
  readonly hasBindStatic: boolean
}

/** A kernel, by what a program can see of it. */
export interface KernelProfile extends KernelRules {
  readonly name: ProfileName
  /** The kernel on which it was seen, or whose sources it was read from. */
  readonly release: string
}

export const PROFILE_NAMES = ['v6', 'linux-6.1', 'linux-6.12'] as const
/** A kernel whose behaviour the simulators know, by its release. */
export type ProfileName = (typeof PROFILE_NAMES)[number]
export const DEFAULT_PROFILE: ProfileName = 'linux-6.12'

/** What holds since the drivers' last visible change but one. */
const LINUX_6_1: KernelProfile = {
  name: 'linux-6.1',
  release: '6.1.192',
  unknownIoctl: 'ENOTTY',
  inheritsMappings: true,
  mapsBareFrames: false,
  holdsNotifyPorts: true,
  checksCountFirst: true,
  freesByTimer: true,
  returnsRefs: true,
  releasesEveryPage: true,
  limitsEachMap: true,
  gntdevLimit: 65536,
  badElements: 'EFAULT',
  withdrawsUnreadMaps: true,
  mapsOnce: true,
  mapsForAnyProcess: true,
  clearsByteFirst: true,
  sealsPrivateMappings: false,
  hasGrantCopy: true,
  ringGrows: true,
  hasRestrictDomid: true,
  hasBindStatic: false,
}

/** What each of them does. */
export const PROFILES: Readonly<Record<ProfileName, KernelProfile>> = {
  /**
   * The patch set of 2011 as posted, on the kernel that took it in: known from sources alone. Its
   * defects that corrupt or crash a kernel are left out (docs/decisions/0014).
   */
  v6: {
    name: 'v6',
    release: '2.6.39',
    unknownIoctl: 'EINVAL',
    inheritsMappings: false,
    mapsBareFrames: true,
    holdsNotifyPorts: false,
    checksCountFirst: false,
    freesByTimer: false,
    returnsRefs: false,
    releasesEveryPage: false,
    limitsEachMap: false,
    gntdevLimit: 1048576,
    badElements: 'ENOMEM',
    withdrawsUnreadMaps: false,
    mapsOnce: false,
    mapsForAnyProcess: false,
    clearsByteFirst: false,
    sealsPrivateMappings: false,
    hasGrantCopy: false,
    ringGrows: false,
    hasRestrictDomid: false,
    hasBindStatic: false,
  },
  'linux-6.1': LINUX_6_1,
  'linux-6.12': {
    ...LINUX_6_1,
    name: 'linux-6.12',
    release: '6.12.117',
    sealsPrivateMappings: true,
    hasBindStatic: true,
  },
}

/** Whether a string from outside names a profile. */
export function isProfileName(name: string): name is ProfileName {
  return (PROFILE_NAMES as readonly string[]).includes(name)
}
