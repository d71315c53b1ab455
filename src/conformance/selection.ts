/** The numbers of `'13,14,20-30'`; undefined when it is written in another way. */
export function parseSelection(text: string): ReadonlySet<number> | undefined {
  const numbers = new Set<number>()
  for (const part of text.split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part.trim())
    if (!match) return undefined
    const first = Number(match[1])
    const last = Number(match[2] ?? match[1])
    if (last < first || last > 9999) return undefined
    for (let id = first; id <= last; id++) numbers.add(id)
  }
  return numbers
}
