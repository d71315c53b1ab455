/**
 * The conformance suite: the numbered cases of the drivers' behaviour, written once, run unchanged
 * on a world, on a host with real processes and on real Xen.
 */
export { type KernelProfile, PROFILES, type ProfileName } from '../kernel/profiles.ts'
export { CASES_BY_CAPABILITY } from './capabilities.ts'
export type { CaseBody, ConformanceCase } from './case.ts'
export { CASES } from './cases/index.ts'
export { ChildPuppet, type ChildPuppetOptions } from './child-puppet.ts'
export type { CaseContext } from './context.ts'
export { LocalPuppet } from './local-puppet.ts'
export { type IoctlAnswer, Puppet } from './puppet.ts'
export type { Fault, Reply, Request, SystemCall } from './puppet-protocol.ts'
export { type CaseReport, type ConformanceReport, lineOf, summaryOf } from './report.ts'
export type { Rig, RigDomain, RigPeer } from './rig.ts'
export { type RunOptions, runCase, runConformance } from './runner.ts'
