import { PROFILES, type ProfileName } from '../kernel/profiles.ts'
import type { Rig } from './rig.ts'

/** What a rig is to imitate, where it can choose. */
export interface RigOptions {
  readonly profile?: ProfileName
  readonly kind?: 'pv' | 'hvm'
}

export type RigMaker = (options: RigOptions) => Promise<Rig>

/**
 * The rigs that `--platform` names, loaded when asked for: none needs the code of the others. A
 * platform is listed here once its rig runs the suite.
 */
export const RIGS: Readonly<Record<string, RigMaker>> = {
  sim: async ({ profile, ...options }) => {
    const { createSimRig } = await import('./sim-rig.ts')
    return createSimRig({ ...options, ...(profile && { profile: PROFILES[profile] }) })
  },
  host: async options => (await import('./host-rig.ts')).createHostRig(options),
  xen: async ({ profile }) => (await import('./xen-rig.ts')).createXenRig(profile),
}
