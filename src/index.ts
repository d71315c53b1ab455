/**
 * interdom: Xen grants, event channels and unmap notification, on real Xen, between processes on a
 * host, and in one process.
 *
 * {@link connect} gives a {@link Connection}; everything else hangs on it.
 *
 * @packageDocumentation
 */
export type { DeviceName } from './abi/devices.ts'
export { DOMID_SELF } from './abi/domid.ts'
export { ERRNO, type ErrnoName, errnoName } from './abi/errno.ts'
export type { GrantName } from './abi/gntdev.ts'
export { GNTST, type GntstName, gntstName } from './abi/grant-table.ts'
export { PAGE_SIZE } from './abi/page.ts'
export {
  ClosedError,
  type ErrorFacts,
  type ProtocolCode,
  ProtocolError,
  XenError,
} from './base/errors.ts'
export { connect } from './connect.ts'
export { Connection } from './connection.ts'
export type { EventChannels } from './evtchn/event-channels.ts'
export type { Port, WaitOptions } from './evtchn/port.ts'
export type { CopyStatus, GrantCopy, GrantedBytes, LocalBytes } from './grant/copy.ts'
export type { MapOptions, ShareOptions } from './grant/grants.ts'
export type { Mapping, ReadOnlyMapping } from './grant/mapping.ts'
export type { Share, ShareNotification } from './grant/share.ts'
export type { UnmapNotification } from './grant/unmap-notification.ts'
export {
  type Access,
  type Address,
  type Capability,
  type Device,
  isDevice,
  type Memory,
  type MmapOptions,
  type OpenOptions,
  type Platform,
  type Readiness,
  type Result,
} from './platform.ts'
export type { ConnectOptions, PlatformName } from './platform-choice.ts'
