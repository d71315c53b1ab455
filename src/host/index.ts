/**
 * The host: a simulated machine made of processes. `HostPlatform` is a process of a domain of it;
 * the rest starts, asks and stops it.
 */
export type { DomainStatus, HostStatus, Order } from './administration.ts'
export { isAbsence } from './call-socket.ts'
export { connectHost, ensureHost } from './connect-host.ts'
export { hostDirectory } from './directory.ts'
export { hostEnvironment } from './environment.ts'
export { HostPlatform } from './host-platform.ts'
export type { DomainSeen } from './inspection.ts'
export { giveOrder } from './orders.ts'
export { spawnHost } from './spawn-host.ts'
