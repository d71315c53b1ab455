import { UNMAP_NOTIFY_CLEAR_BYTE, UNMAP_NOTIFY_SEND_EVENT } from '../abi/gntalloc.ts'
import type { PortBindings } from './port-bindings.ts'

const KNOWN_ACTIONS = UNMAP_NOTIFY_CLEAR_BYTE | UNMAP_NOTIFY_SEND_EVENT

/** Whether SET_UNMAP_NOTIFY knows every bit of `action`. */
export function isKnownAction(action: number): boolean {
  return (action & ~KNOWN_ACTIONS) === 0
}

export function clearsByte(action: number): boolean {
  return (action & UNMAP_NOTIFY_CLEAR_BYTE) !== 0
}

export function sendsEvent(action: number): boolean {
  return (action & UNMAP_NOTIFY_SEND_EVENT) !== 0
}

/** Takes the reference to the port that an armed event needs; true when none is needed. */
export function holdPort(ports: PortBindings, action: number, port: number): boolean {
  return !sendsEvent(action) || ports.get(port)
}

/** Gives the reference back that an armed event held. */
export function releasePort(ports: PortBindings, action: number, port: number): void {
  if (sendsEvent(action)) ports.put(port)
}

/** Sends the event, if one is armed, and lets its port go. */
export function fireEvent(ports: PortBindings, action: number, port: number): void {
  if (!sendsEvent(action)) return
  ports.send(port)
  ports.put(port)
}
