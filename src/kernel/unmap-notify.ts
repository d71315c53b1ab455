import { UNMAP_NOTIFY_CLEAR_BYTE, UNMAP_NOTIFY_SEND_EVENT } from '../abi/gntalloc.ts'
import type { Domain } from './domain.ts'

const KNOWN_ACTIONS = UNMAP_NOTIFY_CLEAR_BYTE | UNMAP_NOTIFY_SEND_EVENT

/** Whether SET_UNMAP_NOTIFY knows every bit of `action`. */
export function isKnownAction(action: number): boolean {
  return (action & ~KNOWN_ACTIONS) === 0
}

export function clearsByte(action: number): boolean {
  return (action & UNMAP_NOTIFY_CLEAR_BYTE) !== 0
}

function sendsEvent(action: number): boolean {
  return (action & UNMAP_NOTIFY_SEND_EVENT) !== 0
}

/**
 * Takes the reference to the port that an armed event needs; true when none is needed. The drivers
 * of 2011 keep the number as it is, and never look at it before they send.
 */
export function holdPort(domain: Domain, action: number, port: number): boolean {
  return !isHeld(domain, action) || domain.ports.get(port)
}

/** Gives the reference back that an armed event held. */
export function releasePort(domain: Domain, action: number, port: number): void {
  if (isHeld(domain, action)) domain.ports.put(port)
}

/** Sends the event, if one is armed, and lets its port go. */
export function fireEvent(domain: Domain, action: number, port: number): void {
  if (sendsEvent(action)) domain.ports.send(port)
  releasePort(domain, action, port)
}

function isHeld({ profile }: Domain, action: number): boolean {
  return sendsEvent(action) && profile.holdsNotifyPorts
}
