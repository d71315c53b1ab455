/**
 * Ratios, measured in one process, the two sides in turn: what disturbs one round disturbs both of
 * its halves, and a median of many rounds forgets the rest.
 */

/**
 * Nanoseconds of processor time that one of `count` calls of `run` takes, the collector's threads
 * included: unlike the time on the wall it does not tell how busy the machine is otherwise.
 */
function timed(run, count) {
  const start = process.cpuUsage()
  for (let i = 0; i < count; i++) run(i)
  const { user, system } = process.cpuUsage(start)
  return ((user + system) * 1000) / count
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1]
}

/**
 * @param {{ loaded: (i: number) => void, bare: (i: number) => void }} sides
 * @returns medians in nanoseconds and the ratio of loaded to bare
 */
export function compare({ loaded, bare }, { rounds = 61, count = 2000, warmUp = 6 } = {}) {
  const times = { loaded: [], bare: [] }
  for (let round = -warmUp; round < rounds; round++) {
    // Turn about, so that neither always follows the other.
    const order = round % 2 === 0 ? ['loaded', 'bare'] : ['bare', 'loaded']
    for (const side of order) {
      const ns = timed(side === 'loaded' ? loaded : bare, count)
      if (round >= 0) times[side].push(ns)
    }
  }
  const loadedNs = median(times.loaded)
  const bareNs = median(times.bare)
  return { loadedNs: round1(loadedNs), bareNs: round1(bareNs), ratio: round2(loadedNs / bareNs) }
}

const round1 = value => Math.round(value * 10) / 10
const round2 = value => Math.round(value * 100) / 100
