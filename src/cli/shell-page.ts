import { viewOf } from '../abi/bytes.ts'

/**
 * The page that the shell's users share, as the test program of 2011 laid it out:
 *
 *      0         8                        72                80
 *     +---------+------------------------+-----------------+--- … 4096
 *     | id, u64 |   buffer, 64 bytes     | notifies, 8 x u8|
 *     +---------+------------------------+-----------------+---
 *
 * Every user of the page may write all of it, so nothing in it is believed: text ends with the
 * buffer, whether a zero is in it or not.
 */
export const TEXT_OFFSET = 8
export const TEXT_SIZE = 64
/** One byte per user, 1 while it is alive; the first is the granter's. */
export const NOTIFIES_OFFSET = 72
export const NOTIFIES = 8

/** A random low half, the process id in the upper 32 bits. */
export function writeId(page: Uint8Array, pid: number, random: number): void {
  const view = viewOf(page)
  view.setUint32(0, random >>> 0, true)
  view.setUint32(4, pid >>> 0, true)
}

/** The id as printf's %16lx. */
export function idText(page: Uint8Array): string {
  const view = viewOf(page)
  const high = view.getUint32(4, true)
  const low = view.getUint32(0, true).toString(16)
  return (high === 0 ? low : high.toString(16) + low.padStart(8, '0')).padStart(16)
}

export function notifiesText(page: Uint8Array): string {
  return Array.from(page.subarray(NOTIFIES_OFFSET, NOTIFIES_OFFSET + NOTIFIES)).join('')
}

/** The lowest user's byte that is 0, the granter's aside; undefined when all are taken. */
export function freeNotify(page: Uint8Array): number | undefined {
  for (let slot = 1; slot < NOTIFIES; slot++) {
    if (page[NOTIFIES_OFFSET + slot] === 0) return slot
  }
  return undefined
}

/** The text up to its first zero, a character for each byte. */
export function pageText(page: Uint8Array): string {
  const bytes = Buffer.from(page.subarray(TEXT_OFFSET, TEXT_OFFSET + TEXT_SIZE))
  const end = bytes.indexOf(0)
  return bytes.toString('latin1', 0, end < 0 ? TEXT_SIZE : end)
}

/** Puts `word` in front of the text; what no longer fits is cut off the end. */
export function prependWord(page: Uint8Array, word: string): void {
  const bytes = Buffer.from(word, 'latin1').subarray(0, TEXT_SIZE)
  const text = page.subarray(TEXT_OFFSET, TEXT_OFFSET + TEXT_SIZE)
  text.copyWithin(bytes.byteLength, 0)
  text.set(bytes)
}
