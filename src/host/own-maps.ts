import { readFileSync } from 'node:fs'

/**
 * Start of the first mapping of this process that ends above `address`: what find_vma() of the
 * kernel answers. Undefined when nothing is mapped above.
 */
export function nextMappingStart(address: number): number | undefined {
  for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    const [start, end] = line.slice(0, line.indexOf(' ')).split('-')
    if (start && end && Number.parseInt(end, 16) > address) return Number.parseInt(start, 16)
  }
  return undefined
}
