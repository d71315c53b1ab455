import * as evtchn from '../abi/evtchn.ts'
import * as gntalloc from '../abi/gntalloc.ts'
import * as gntdev from '../abi/gntdev.ts'
import { ioctlNumber } from '../abi/ioctl.ts'
import { PROT_NONE, PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import type { Phrase } from './phrases.ts'
import type { CopyPart, CopySide, Hurdle, RefWord, Step } from './sequence.ts'
import type { OpenDescriptor, Situation } from './situation.ts'

const COUNT_MAX = 4

/** Numbers of one device or another, and some that no device has. */
const IOCTLS: readonly [number, ...number[]] = [
  ioctlNumber('G', 0x99, 0),
  ioctlNumber('E', 0x99, 0),
  gntalloc.GNTALLOC_ALLOC_GREF,
  gntalloc.GNTALLOC_DEALLOC_GREF,
  gntalloc.GNTALLOC_SET_UNMAP_NOTIFY,
  gntdev.GNTDEV_MAP_GRANT_REF,
  gntdev.GNTDEV_UNMAP_GRANT_REF,
  gntdev.GNTDEV_GET_OFFSET_FOR_VADDR,
  gntdev.GNTDEV_SET_MAX_GRANTS,
  gntdev.GNTDEV_GRANT_COPY,
  evtchn.EVTCHN_BIND_VIRQ,
  evtchn.EVTCHN_BIND_INTERDOMAIN,
  evtchn.EVTCHN_BIND_UNBOUND_PORT,
  evtchn.EVTCHN_UNBIND,
  evtchn.EVTCHN_NOTIFY,
  evtchn.EVTCHN_RESET,
  evtchn.EVTCHN_RESTRICT_DOMID,
]

/** ALLOC, and mostly a mapping of it. */
const share: Phrase = now => {
  const { dice } = now
  const fd = now.descriptor('gntalloc')
  if (!fd) return []
  const count = dice.chance(4) ? dice.of(0, 1025, 5000) : 1 + dice.below(COUNT_MAX)
  const flags = dice.chance(80) ? 1 : dice.of(0, 2, 0xffff)
  const to = now.grantee()
  if (dice.chance(4)) {
    const hurdle = dice.of<Hurdle>('readonly', 'cut')
    return [now.step({ do: 'alloc', fd: fd.id, to, flags, count, hurdle })]
  }
  const alloc = now.step({ do: 'alloc', fd: fd.id, to, flags, count })
  if (dice.chance(30)) return [alloc]
  const pages = Math.min(Math.max(1, count), COUNT_MAX)
  return [alloc, mmapStep(now, fd, { of: alloc.id, page: 0, byte: 0 }, pages)]
}

/** MAP_GRANT_REF of what somebody granted, and mostly its mmap. */
const take: Phrase = now => {
  const { dice } = now
  const fd = now.descriptor('gntdev')
  if (!fd || (now.made('refs').length === 0 && dice.chance(90))) return []
  const count = dice.chance(3) ? 0 : 1 + dice.below(dice.chance(70) ? 2 : COUNT_MAX)
  const grants = Array.from({ length: count }, (_, i) => ref(now, fd, i))
  if (dice.chance(4)) {
    const hurdle = dice.of<Hurdle>('readonly', 'cut')
    return [now.step({ do: 'map', fd: fd.id, grants, hurdle })]
  }
  const map = now.step({ do: 'map', fd: fd.id, grants })
  if (dice.chance(12)) return [map]
  return [map, mmapStep(now, fd, { of: map.id, page: 0, byte: 0 }, Math.max(1, count))]
}

/** mmap of anything that was given, once more or for the first time. */
const mmap: Phrase = now => {
  const { dice } = now
  const fd = now.busyDescriptor(dice.of('gntalloc', 'gntdev'))
  if (!fd) return []
  const { place, made } = now.place(fd)
  const isWhole = fd.file.device === 'gntdev' && dice.chance(80)
  const count = made?.count ?? 1
  const pages = isWhole ? count : 1 + dice.below(Math.max(1, count - place.page))
  return [mmapStep(now, fd, isWhole ? { ...place, page: 0 } : place, Math.max(1, pages))]
}

const dealloc: Phrase = now => {
  const { dice } = now
  const fd = now.busyDescriptor('gntalloc')
  if (!fd) return []
  const { place, made } = now.place(fd)
  const rest = (made?.count ?? 1) - place.page
  const count = dice.chance(8) ? dice.of(0, rest + 1) : 1 + dice.below(rest)
  const byte = dice.chance(4) ? 1 : 0
  return [now.step({ do: 'dealloc', fd: fd.id, at: { ...place, byte }, count })]
}

const unmap: Phrase = now => {
  const { dice } = now
  const fd = now.busyDescriptor('gntdev')
  if (!fd) return []
  const { place, made } = now.place(fd)
  const count = dice.chance(80) ? (made?.count ?? 1) : dice.of(0, 1, 2)
  const at = dice.chance(90) ? { ...place, page: 0 } : place
  const byte = dice.chance(8) ? 123 : 0
  return [now.step({ do: 'unmap', fd: fd.id, at: { ...at, byte }, count })]
}

const arm: Phrase = now => {
  const { dice } = now
  const fd = now.busyDescriptor(dice.of('gntalloc', 'gntdev'))
  if (!fd) return []
  const { place } = now.place(fd)
  const action = dice.chance(6) ? dice.of(4, 7, 0xffff_ffff) : dice.of(0, 1, 2, 2, 3, 3, 3)
  const at = { ...place, byte: now.byte() }
  return [now.step({ do: 'arm', fd: fd.id, at, action, port: now.port(fd.file.side) })]
}

const offset: Phrase = now => {
  const fd = now.descriptor('gntdev')
  if (!fd) return []
  const mapped = now.dice.chance(80) ? now.mapped('gntdev') : now.mapped()
  return [now.step({ do: 'offset', fd: fd.id, spot: now.spot(mapped?.page ?? now.room(0, 1)) })]
}

const copy: Phrase = now => {
  const { dice } = now
  const fd = now.descriptor('gntdev')
  if (!fd) return []
  const count = dice.chance(70) ? 1 : dice.below(4)
  return [
    now.step({
      do: 'copy',
      fd: fd.id,
      parts: Array.from({ length: count }, () => part(now, fd)),
    }),
  ]
}

/** A number that the device does not know, or a known one with a pointer to nowhere. */
const ioctl: Phrase = now => {
  const { dice } = now
  const fd = now.descriptor(dice.of('gntalloc', 'gntdev', 'evtchn'))
  return fd ? [now.step({ do: 'ioctl', fd: fd.id, number: dice.of(...IOCTLS) })] : []
}

export const grantPhrases: readonly (readonly [number, Phrase])[] = [
  [12, share],
  [14, take],
  [6, mmap],
  [8, dealloc],
  [7, unmap],
  [12, arm],
  [3, offset],
  [6, copy],
  [2, ioctl],
]

function mmapStep(
  now: Situation,
  fd: OpenDescriptor,
  at: { of?: number; page: number; byte: number },
  pages: number,
): Step {
  const { dice } = now
  const size = Math.min(pages, 2 * COUNT_MAX)
  return now.step({
    do: 'mmap',
    fd: fd.id,
    at: dice.chance(3) ? { ...at, byte: 100 } : at,
    page: now.room(fd.process, size),
    pages: size,
    prot: dice.chance(78) ? PROT_READ | PROT_WRITE : dice.of(PROT_READ, PROT_READ, PROT_NONE),
    shared: dice.chance(95),
  })
}

/** A ref of a recent ALLOC, by what names it to a mapper. */
function ref(now: Situation, { process, file }: OpenDescriptor, nth: number): RefWord {
  const { dice } = now
  const alloc = now.refsFor(file.side)
  if (!alloc || dice.chance(4)) return { domid: now.domid(process), nth: 0 }
  const count = alloc.refs?.length ?? 1
  const domid = now.domid(process, alloc.file.side)
  return { domid, of: alloc.id, nth: (nth + dice.below(count)) % Math.max(1, count) }
}

/**
 * Source and destination may be one page, and what a copy onto itself leaves is nobody's promise:
 * one of them lies in the lower half of its page and the other in the upper.
 */
function part(now: Situation, fd: OpenDescriptor): CopyPart {
  const { dice } = now
  const isUp = dice.chance(50)
  const length = dice.of(0, 1, 8, 64, 100, 2048)
  const kinds = dice.weighted([
    [40, ['grant', 'local']],
    [40, ['local', 'grant']],
    [15, ['grant', 'grant']],
    [3, ['local', 'local']],
  ] as const) ?? ['grant', 'local']
  const [source, dest] = kinds.map((kind, i) => {
    const at = (i === 0) === isUp ? 0 : 2048
    return kind === 'grant' ? grantSide(now, fd, at) : localSide(now, fd, at)
  }) as [CopySide, CopySide]
  return { source, dest, length }
}

function grantSide(now: Situation, fd: OpenDescriptor, offset: number): CopySide {
  const isBeyond = now.dice.chance(3)
  return { ...ref(now, fd, 0), offset: isBeyond ? 4090 : offset }
}

function localSide(now: Situation, { process }: OpenDescriptor, byte: number): CopySide {
  const mapped = now.dice.chance(50) ? now.mapped() : undefined
  const page = mapped?.process === process ? mapped.page : now.room(process, 1)
  return { page, byte }
}
