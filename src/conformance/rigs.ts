import type { ProfileName, Rig } from './rig.ts'

export type RigMaker = (profile?: ProfileName) => Promise<Rig>

/**
 * The rigs that `--platform` names, loaded when asked for: none needs the code of the others. A
 * platform is listed here once its rig runs the suite.
 */
export const RIGS: Readonly<Record<string, RigMaker>> = {
  sim: async profile => (await import('./sim-rig.ts')).createSimRig(profile ? { profile } : {}),
  host: async profile => (await import('./host-rig.ts')).createHostRig(profile),
  xen: async profile => (await import('./xen-rig.ts')).createXenRig(profile),
}
