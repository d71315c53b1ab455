import type { Phrase } from './phrases.ts'

const munmap: Phrase = now => {
  const mapped = now.mapped()
  if (!mapped) return []
  const pages = now.dice.chance(60) ? now.run(mapped) : 1
  const kind = now.dice.chance(85) ? 'munmap' : 'replace'
  return [now.step({ do: kind, ...mapped, pages })]
}

const protect: Phrase = now => {
  const mapped = now.mapped()
  if (!mapped) return []
  const pages = now.dice.chance(60) ? now.run(mapped) : 1
  return [now.step({ do: 'protect', ...mapped, pages, prot: now.dice.of(0, 1, 3, 3) })]
}

const poke: Phrase = now => {
  const mapped = now.mapped()
  if (!mapped) return []
  const { process, page } = mapped
  const value = 1 + now.dice.below(255)
  return [now.step({ do: 'poke', process, spot: now.spot(page), value })]
}

const peek: Phrase = now => {
  const mapped = now.mapped()
  if (!mapped) return []
  const { process, page } = mapped
  const byte = now.dice.of(0, 2048)
  return [now.step({ do: 'peek', process, spot: { page, byte }, length: 64 })]
}

export const memoryPhrases: readonly (readonly [number, Phrase])[] = [
  [7, munmap],
  [2, protect],
  [8, poke],
  [5, peek],
]
