import { encodeAllocGref, GNTALLOC_ALLOC_GREF, UNMAP_NOTIFY_CLEAR_BYTE } from '../abi/gntalloc.ts'
import { type CopyEndpoint, encodeMapGrantRef, GNTDEV_MAP_GRANT_REF } from '../abi/gntdev.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { Gntalloc } from '../conformance/gntalloc.ts'
import { Gntdev } from '../conformance/gntdev.ts'
import { callPast } from './hurdles.ts'
import { ARENA_PAGES } from './limits.ts'
import { type DescriptorBook, type Play, resultText } from './play.ts'
import type { CopySide, RefWord, Step, StepOf } from './sequence.ts'

/** Steps on a descriptor of gntalloc or gntdev; one that the device does not know is not played. */
export async function performOnGrants(
  play: Play,
  step: Step,
  book: DescriptorBook,
): Promise<string> {
  const facts = await play.facts(book)
  if (step.do === 'arm') {
    const opened = book.file.device === 'gntalloc' ? new Gntalloc(facts) : new Gntdev(facts)
    return arm(play, step, book, opened)
  }
  return book.file.device === 'gntalloc'
    ? performOnGntalloc(play, step, book, new Gntalloc(facts))
    : performOnGntdev(play, step, book, new Gntdev(facts))
}

async function performOnGntalloc(
  play: Play,
  step: Step,
  book: DescriptorBook,
  gntalloc: Gntalloc,
): Promise<string> {
  switch (step.do) {
    case 'alloc':
      return alloc(play, step, book, gntalloc)
    case 'dealloc':
      return giveBack(play, step, await gntalloc.dealloc(play.place(step.at), step.count))
    default:
      return 'no such call'
  }
}

async function alloc(
  play: Play,
  step: StepOf<'alloc'>,
  { file, process, fd }: DescriptorBook,
  gntalloc: Gntalloc,
): Promise<string> {
  const { count, flags, hurdle } = step
  const domid = play.domid(step.to, process)
  if (hurdle) {
    file.hasHiddenPages = true
    const argument = encodeAllocGref({ domid, flags, count })
    const actor = await play.actor(process)
    return resultText(await callPast(hurdle, actor, fd, GNTALLOC_ALLOC_GREF, argument))
  }
  const { result, index, refs } = await gntalloc.alloc({ domid, flags, count })
  if (result < 0) return refusalText(result, index)
  file.allocations.push({ first: index / PAGE_SIZE, count })
  const grantee = play.stage.domids.indexOf(domid)
  play.made.set(step.id, { file, index, count, refs, grantee })
  return `index ${index} refs ${play.refNames(refs, file.side)}`
}

async function performOnGntdev(
  play: Play,
  step: Step,
  { file, process, fd }: DescriptorBook,
  gntdev: Gntdev,
): Promise<string> {
  switch (step.do) {
    case 'map': {
      const grants = step.grants.map(one => ({
        domid: play.domid(one.domid, process),
        ref: play.ref(one, process),
      }))
      if (step.hurdle) {
        const [actor, argument] = [await play.actor(process), encodeMapGrantRef(grants)]
        return resultText(await callPast(step.hurdle, actor, fd, GNTDEV_MAP_GRANT_REF, argument))
      }
      const { result, index } = await gntdev.map(grants)
      if (result < 0) return refusalText(result, index)
      play.made.set(step.id, { file, index, count: grants.length })
      return `index ${index}`
    }
    case 'unmap':
      return giveBack(play, step, await gntdev.unmap(play.place(step.at), step.count))
    case 'offset': {
      const { arena } = await play.actor(process)
      const vaddr = arena + step.spot.page * PAGE_SIZE + step.spot.byte
      const { result, offset, count } = await gntdev.offsetFor(vaddr)
      return result < 0 ? refusalText(result, offset) : `offset ${offset} count ${count}`
    }
    case 'copy':
      return copy(play, step, process, gntdev)
    default:
      return 'no such call'
  }
}

function giveBack(play: Play, { at }: StepOf<'dealloc' | 'unmap'>, result: number): string {
  if (result === 0 && at.of !== undefined) play.givenBack.add(at.of)
  return resultText(result)
}

async function arm(
  play: Play,
  step: StepOf<'arm'>,
  { file, process }: DescriptorBook,
  opened: Gntalloc | Gntdev,
): Promise<string> {
  const place = play.place(step.at)
  const result = await opened.setNotify(place, step.action, play.port(step.port, process))
  if (result === 0 && (step.action & UNMAP_NOTIFY_CLEAR_BYTE) !== 0) {
    file.armedPages.add(Math.floor(place / PAGE_SIZE))
  }
  return resultText(result)
}

async function copy(
  play: Play,
  step: StepOf<'copy'>,
  process: number,
  gntdev: Gntdev,
): Promise<string> {
  const { arena } = await play.actor(process)
  const endpoint = (side: CopySide): CopyEndpoint =>
    isGrant(side)
      ? {
          domid: play.domid(side.domid, process) & 0xffff,
          ref: play.ref(side, process),
          offset: side.offset,
        }
      : { address: arena + side.page * PAGE_SIZE + side.byte }
  const { result, statuses } = await gntdev.copy(
    step.parts.map(({ source, dest, length }) => ({
      source: endpoint(source),
      dest: endpoint(dest),
      len: length,
    })),
    // Memory of their own might be given out in a hole that the sequence made.
    { at: arena + ARENA_PAGES * PAGE_SIZE },
  )
  return `${resultText(result)} statuses ${statuses.join(',')}`
}

function isGrant(side: CopySide): side is RefWord & { readonly offset: number } {
  return 'nth' in side
}

/** A refusal, and what the driver stored all the same. */
function refusalText(result: number, stored: number): string {
  return stored === 0 ? resultText(result) : `${resultText(result)} stored ${stored}`
}
