import { GNTALLOC_FLAG_WRITABLE } from '../abi/gntalloc.ts'
import { PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import type { Phrase } from './phrases.ts'
import type { Step } from './sequence.ts'
import type { Situation } from './situation.ts'

/** A page that one process grants, another of any domain maps, and both look at. */
const lend: Phrase = now => {
  const [owner, mapper] = [now.descriptor('gntalloc'), now.descriptor('gntdev')]
  if (!owner || !mapper) return []
  const to = now.wordFor(owner.process, mapper.file.side)
  const flags = GNTALLOC_FLAG_WRITABLE
  const alloc = now.step({ do: 'alloc', fd: owner.id, to, flags, count: 1 })
  const domid = now.wordFor(mapper.process, owner.file.side)
  const map = now.step({ do: 'map', fd: mapper.id, grants: [{ domid, of: alloc.id, nth: 0 }] })
  const [ours, theirs] = [now.room(owner.process, 1), now.room(mapper.process, 1)]
  const prot = PROT_READ | PROT_WRITE
  const whole = { pages: 1, prot, shared: true }
  const at = (of: number) => ({ of, page: 0, byte: 0 })
  return [
    alloc,
    now.step({ do: 'mmap', fd: owner.id, at: at(alloc.id), page: ours, ...whole }),
    map,
    now.step({ do: 'mmap', fd: mapper.id, at: at(map.id), page: theirs, ...whole }),
    now.step({ do: 'poke', process: owner.process, spot: now.spot(ours), value: 7 }),
    now.step({
      do: 'peek',
      process: mapper.process,
      spot: { page: theirs, byte: 0 },
      length: 64,
    }),
  ]
}

/** Whoever granted a page is gone, in one way or another, between MAP_GRANT_REF and mmap. */
const vanish: Phrase = now => {
  const { dice } = now
  const mapper = now.descriptor('gntdev')
  const alloc = mapper && now.refsFor(mapper.file.side)
  if (!mapper || !alloc) return []
  const domid = now.wordFor(mapper.process, alloc.file.side)
  const map = now.step({ do: 'map', fd: mapper.id, grants: [{ domid, of: alloc.id, nth: 0 }] })
  const gone = disappearance(now, mapper.process, alloc)
  const prot = PROT_READ | PROT_WRITE
  const at = { of: map.id, page: 0, byte: 0 }
  const page = now.room(mapper.process, 1)
  const mmap = now.step({ do: 'mmap', fd: mapper.id, at, page, pages: 1, prot, shared: true })
  return dice.chance(90) ? [map, ...gone, mmap] : [map, mmap, ...gone]
}

function disappearance(
  now: Situation,
  mapper: number,
  alloc: NonNullable<ReturnType<Situation['refsFor']>>,
): Step[] {
  const owner = now.descriptors('gntalloc').find(({ file }) => file === alloc.file)
  if (!owner) return []
  const kind = now.dice.of('kill', 'close', 'dealloc')
  if (kind === 'kill' && owner.process !== mapper) {
    return [now.step({ do: 'kill', process: owner.process })]
  }
  if (kind === 'close') return [now.step({ do: 'close', fd: owner.id })]
  const at = { of: alloc.id, page: 0, byte: 0 }
  return [now.step({ do: 'dealloc', fd: owner.id, at, count: alloc.count ?? 1 })]
}

/** Known phrases of sequences with two domains, beside all others. */
export const domainPhrases: readonly (readonly [number, Phrase])[] = [
  [8, lend],
  [4, vanish],
]
