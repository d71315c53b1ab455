import { GNTST } from '../abi/grant-table.ts'
import type { Gntalloc } from './gntalloc.ts'
import type { Gntdev } from './gntdev.ts'
import type { Region } from './region.ts'
import { ok } from './verdict.ts'

/** How often it is asked whether the grant is still there; a page is unmapped some 5 ms late. */
const ASK_EVERY_MS = 50

/**
 * Resolves once the kernel has looked after every grant that waits to be freed now: it takes up to
 * ten of them a second in the order in which they were ended, and puts what is still mapped at the
 * end (gnttab_handle_deferred). So one more is ended behind them, and when that is gone, each of
 * the others has had its turn. Takes the time that it takes and no fixed one, which a slow machine
 * would exceed.
 *
 * `memory` is a page of the puppet. Whether a grant is there is asked by copying from it, which is
 * over with the call, where a mapping would keep the grant from being freed.
 */
export async function untilLastDeferred(a: Gntalloc, d: Gntdev, memory: Region): Promise<void> {
  const { watchdogMs, settle } = a.facts
  await settle(ASK_EVERY_MS)
  const { index, ref, grants } = await a.granted()
  const { index: map, region } = await d.mapped(grants)
  await ok(a.dealloc(index))
  await ok(region.munmap())
  await ok(d.unmap(map))
  const source = { ...grants[0]!, offset: 0 }
  const request = { source, dest: { address: memory.address }, len: 1 }
  for (let waited = 0; waited < watchdogMs; waited += ASK_EVERY_MS) {
    await settle(ASK_EVERY_MS)
    const { statuses } = await d.copy([request])
    if (statuses[0] !== GNTST.okay) return
  }
  throw new Error(`the kernel has not freed ref ${ref}, which nobody maps, in ${watchdogMs} ms`)
}
