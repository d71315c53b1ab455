import { readU16, readU32, writeU16, writeU32 } from './bytes.ts'
import { ioctlNumber } from './ioctl.ts'

/**
 * /dev/xen/evtchn: event channels. BIND_* answer the new local port as the ioctl's result.
 * Source: include/uapi/xen/evtchn.h (Linux 6.12.117), little endian.
 */
export const EVTCHN_BIND_VIRQ: number = ioctlNumber('E', 0, 4)
export const EVTCHN_BIND_INTERDOMAIN: number = ioctlNumber('E', 1, 8)
export const EVTCHN_BIND_UNBOUND_PORT: number = ioctlNumber('E', 2, 4)
export const EVTCHN_UNBIND: number = ioctlNumber('E', 3, 4)
export const EVTCHN_NOTIFY: number = ioctlNumber('E', 4, 4)
/** The one ioctl without an argument. */
export const EVTCHN_RESET: number = ioctlNumber('E', 5, 0)
export const EVTCHN_RESTRICT_DOMID: number = ioctlNumber('E', 6, 2)
/** Not in Linux 6.1 (ENOSYS). Answers 0, not a port. */
export const EVTCHN_BIND_STATIC: number = ioctlNumber('E', 7, 4)

/** A port on the wire of read(2) and write(2): u32, and at most this many bytes a call. */
export const PORT_SIZE = 4
export const EVTCHN_IO_MAX = 4096

/** One u32: virq, remote domid, or port. RESTRICT_DOMID alone takes two bytes. */
export function encodeU32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  writeU32(bytes, 0, value)
  return bytes
}

export function decodeU32(bytes: Uint8Array, at = 0): number {
  return readU32(bytes, at)
}

export function encodeRestrictDomid(domid: number): Uint8Array {
  const bytes = new Uint8Array(2)
  writeU16(bytes, 0, domid)
  return bytes
}

export function decodeRestrictDomid(bytes: Uint8Array): number {
  return readU16(bytes, 0)
}

/**
 * BIND_INTERDOMAIN:
 *
 *      0                4                8
 *     +----------------+----------------+
 *     | remote domain  |  remote port   |
 *     +----------------+----------------+
 */
export function encodeBindInterdomain(remoteDomid: number, remotePort: number): Uint8Array {
  const bytes = new Uint8Array(8)
  writeU32(bytes, 0, remoteDomid)
  writeU32(bytes, 4, remotePort)
  return bytes
}

export function decodeBindInterdomain(bytes: Uint8Array): {
  remoteDomid: number
  remotePort: number
} {
  return { remoteDomid: decodeU32(bytes, 0), remotePort: decodeU32(bytes, 4) }
}

/** Ports as read(2) returns and write(2) takes them. */
export function encodePorts(ports: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(PORT_SIZE * ports.length)
  ports.forEach((port, i) => {
    writeU32(bytes, PORT_SIZE * i, port)
  })
  return bytes
}

export function decodePorts(bytes: Uint8Array): number[] {
  return Array.from({ length: bytes.byteLength >> 2 }, (_, i) => readU32(bytes, 4 * i))
}
