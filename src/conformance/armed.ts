import { UNMAP_NOTIFY_CLEAR_BYTE, UNMAP_NOTIFY_SEND_EVENT } from '../abi/gntalloc.ts'
import type { CaseContext } from './context.ts'
import type { Channel } from './evtchn.ts'
import type { Gntdev } from './gntdev.ts'
import type { Puppet } from './puppet.ts'
import type { Region } from './region.ts'
import { ok } from './verdict.ts'

export interface ArmedOptions {
  readonly pages?: number
  /** The armed byte, from the start of the map; it is set to {@link ARMED_BYTE}. */
  readonly offset?: number
  /** The process that maps. */
  readonly on?: Puppet
}

/** What the armed byte holds until it is cleared. */
export const ARMED_BYTE = 7

/** Pages of the peer, mapped here, whose map has a byte and an event armed. */
export interface ArmedMap {
  /** The pages where they were granted, to look at. */
  readonly owner: Region
  readonly d: Gntdev
  readonly index: number
  /** The mapping under test. */
  readonly region: Region
  readonly bell: Channel
}

export async function armedMap(t: CaseContext, options: ArmedOptions = {}): Promise<ArmedMap> {
  const { pages = 1, offset = 5, on } = options
  const bell = await t.channel()
  const { grants, region: owner } = await (await t.peerGntalloc()).share({ count: pages })
  const d = await t.gntdev(on ? { on } : {})
  const { index, region } = await d.mapped(grants)
  await owner.store(offset, ARMED_BYTE)
  const both = UNMAP_NOTIFY_CLEAR_BYTE | UNMAP_NOTIFY_SEND_EVENT
  await ok(d.setNotify(index + offset, both, bell.port))
  return { owner, d, index, region, bell }
}
