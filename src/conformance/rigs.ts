import type { ProfileName, Rig } from './rig.ts'

export type RigMaker = (profile?: ProfileName) => Promise<Rig>

/**
 * The rigs that `--platform` names, loaded when asked for: a world needs no native code, real Xen
 * no host. A platform is listed here once its rig runs the suite.
 */
export const RIGS: Readonly<Record<string, RigMaker>> = {}
