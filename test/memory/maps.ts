import { readFileSync } from 'node:fs'

/** The line of /proc/self/maps that has the address, or undefined when nothing is there. */
export function mappingAt(address: number): string | undefined {
  return readFileSync('/proc/self/maps', 'latin1')
    .split('\n')
    .find(line => {
      const [from, to] = line.split(/[- ]/, 2).map(part => Number.parseInt(part, 16))
      return from! <= address && address < to!
    })
}
