import {
  encodeUnmapNotify,
  UNMAP_NOTIFY_CLEAR_BYTE,
  UNMAP_NOTIFY_SEND_EVENT,
} from '../abi/gntalloc.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { described, integerBetween } from '../base/arguments.ts'

/** What the kernel does when the pages go, however they go: also on SIGKILL. */
export interface UnmapNotification {
  /** Stores 0 into this byte of the pages: bytes from the start, 0 to pages x 4096 - 1. */
  readonly clearByte?: number | null | undefined
  /** Then notifies this port, bound in this domain. */
  readonly sendEvent?: { readonly port: number } | null | undefined
}

/** The argument of SET_UNMAP_NOTIFY for pages whose index is `index`; action 0 disarms. */
export function encodeNotification(
  index: number,
  pages: number,
  { clearByte, sendEvent }: UnmapNotification,
): Uint8Array {
  let action = 0
  let offset = 0
  let port = 0
  if (clearByte !== undefined && clearByte !== null) {
    offset = integerBetween('clearByte', clearByte, 0, pages * PAGE_SIZE - 1)
    action |= UNMAP_NOTIFY_CLEAR_BYTE
  }
  if (sendEvent !== undefined && sendEvent !== null) {
    port = portOf(sendEvent)
    action |= UNMAP_NOTIFY_SEND_EVENT
  }
  return encodeUnmapNotify({ index: index + offset, action, port })
}

function portOf(value: { readonly port: number }): number {
  if (typeof value !== 'object') {
    throw new TypeError(`sendEvent must be a Port, got ${described(value)}`)
  }
  return integerBetween('sendEvent.port', value.port, 0, 2 ** 32 - 1)
}
