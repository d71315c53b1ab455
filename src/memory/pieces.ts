import type { Interval } from './intervals.ts'
import type { LentBuffer } from './lent-buffer.ts'

/**
 * live       mapped: its bytes may be viewed
 * tombstone  unmapped, with zeroes in its place for the views that are left
 */
export type Kind = 'live' | 'tombstone'

/** Addresses of one mapping, as far as they have the same fate. */
export interface Piece extends Interval {
  readonly kind: Kind
  /** The buffer that views are made of, if there is one: it covers the piece, or more. */
  readonly lent?: LentBuffer | undefined
  /** Every buffer, that one included, through which somebody may reach some of the addresses. */
  readonly lenders: readonly LentBuffer[]
}

/** The part `[start, end)` of a piece, as another kind or as the same. */
export function part(piece: Piece, start: number, end: number, kind: Kind = piece.kind): Piece {
  const lenders = piece.lenders.filter(lent => lent.start < end && start < lent.end)
  return { start, end, kind, lent: kind === 'live' ? piece.lent : undefined, lenders }
}

/** What is left of a piece without `[start, end)`: none, one or two pieces. */
export function remains(piece: Piece, start: number, end: number): Piece[] {
  if (start <= piece.start && piece.end <= end) return []
  const left = piece.start < start ? [part(piece, piece.start, start)] : []
  const right = end < piece.end ? [part(piece, end, piece.end)] : []
  return [...left, ...right]
}

/** A piece of which `[start, end)` has become another kind, in ascending order. */
export function split(piece: Piece, start: number, end: number, kind: Kind): Piece[] {
  const changed = part(piece, start, end, kind)
  return [...remains(piece, start, end), changed].sort((a, b) => a.start - b.start)
}

/** A piece that a buffer can no longer reach. */
export function without(piece: Piece, gone: LentBuffer): Piece {
  const lent = piece.lent === gone ? undefined : piece.lent
  return { ...piece, lent, lenders: piece.lenders.filter(other => other !== gone) }
}

/** The buffers of a piece that somebody still holds. */
export function reachable(piece: Piece): LentBuffer[] {
  return piece.lenders.filter(lent => lent.isReachable)
}
