import { World, type WorldOptions } from './world.ts'

/** A machine inside of this process: deterministic, and stepped by hand. For tests. */
export function createWorld(options: WorldOptions = {}): World {
  return new World(options)
}

export type { ModuleName } from '../abi/modules.ts'
export type { DomainLimits } from '../kernel/limits.ts'
export type { KernelProfile, ProfileName } from '../kernel/profiles.ts'
export type { World, WorldDomain, WorldDomainOptions, WorldOptions } from './world.ts'
export type { WorldProcess } from './world-process.ts'
