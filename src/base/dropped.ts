import type { Closable } from './owner.ts'

/** What a program dropped without closing it. It must not reach the object that was dropped. */
export interface Dropped extends Closable {
  readonly isClosed: boolean
  /** `'port 3'` */
  readonly what: string
}

/**
 * The net under a program that forgets to close, called when nothing can reach the resource any
 * more: closes it, and says so once. It is a net and not a plan, since garbage may be collected
 * late or never.
 *
 * A no-op under NODE_V8_COVERAGE: finalizers and coverage do not get on in Node
 * (nodejs/node#49344).
 */
export function closeDropped(dropped: Dropped): void {
  if (dropped.isClosed || process.env['NODE_V8_COVERAGE'] !== undefined) return
  process.emitWarning(
    `${dropped.what} was dropped without close() and has been closed by the collector`,
    {
      type: 'ResourceWarning',
      code: 'INTERDOM_DROPPED',
    },
  )
  try {
    dropped.close()
  } catch (error) {
    process.emitWarning(error instanceof Error ? error : String(error))
  }
}
