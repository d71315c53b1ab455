/** The measuring half of host.mjs, in a process that can be pinned. Prints its ratios as JSON. */
import * as gntalloc from '../dist/abi/gntalloc.js'
import * as gntdev from '../dist/abi/gntdev.js'
import { connectHost, giveOrder } from '../dist/host/index.js'
import { bareTrips } from './bare-trips.mjs'

const PAGE_SIZE = 4096
const ROUNDS = 41
/** Rounds until both processes have compiled what they run in all others. */
const WARM_UP = 60
const median = values => [...values].sort((a, b) => a - b)[values.length >> 1]
const round2 = value => Math.round(value * 100) / 100

const bare = bareTrips(process.env.ECHO)
const options = { access: 'readwrite', nonblock: true }
const one = await connectHost({ domid: 1 })
const two = await connectHost({ domid: 2 })
const alloc = one.open('gntalloc', options)
const map = two.open('gntdev', options)

const report = {
  cycle: compare(
    () => cycle(1),
    () => bare(4),
    200,
  ),
  pages: compare(
    () => cycle(512),
    () => cycle(1),
    100,
  ),
}
const set = (limit, value) =>
  giveOrder(process.env.INTERDOM_HOST, { order: 'set', domid: 1, limit, value })
set('maxGrantFrames', 512)
for (let i = 0; i < 100; i++) share(1000)
const loaded = { alloc: one.open('gntalloc', options), map: two.open('gntdev', options) }
report.live = await againstNone(loaded)
process.stdout.write(JSON.stringify(report))
process.exit(0)

/** Share, map, unmap, unshare through the devices themselves; the bytes are not read. */
function cycle(pages, devices = { alloc, map }) {
  const length = pages * PAGE_SIZE
  const request = gntalloc.encodeAllocGref({ domid: 2, flags: 1, count: pages })
  devices.alloc.ioctl(gntalloc.GNTALLOC_ALLOC_GREF, request)
  const { index, refs } = gntalloc.decodeAllocGrefReply(request, pages)
  const ours = devices.alloc.mmap({ offset: index, length, prot: 3, flags: 1 })
  const grants = gntdev.encodeMapGrantRef(refs.map(ref => ({ domid: 1, ref })))
  devices.map.ioctl(gntdev.GNTDEV_MAP_GRANT_REF, grants)
  const at = gntdev.decodeMapGrantRefIndex(grants)
  const theirs = devices.map.mmap({ offset: at, length, prot: 3, flags: 1 })
  if (ours < 0 || theirs < 0) throw new Error(`mmap answered ${ours}, ${theirs}`)
  two.memory.munmap(theirs, length)
  const unmap = gntdev.encodeUnmapGrantRef({ index: at, count: pages })
  devices.map.ioctl(gntdev.GNTDEV_UNMAP_GRANT_REF, unmap)
  one.memory.munmap(ours, length)
  const dealloc = gntalloc.encodeDeallocGref({ index, count: pages })
  devices.alloc.ioctl(gntalloc.GNTALLOC_DEALLOC_GREF, dealloc)
}

function share(pages) {
  const request = gntalloc.encodeAllocGref({ domid: 2, flags: 1, count: pages })
  const result = alloc.ioctl(gntalloc.GNTALLOC_ALLOC_GREF, request)
  if (result !== 0) throw new Error(`ALLOC answered ${result}`)
}

/** The same cycle in a domain that grants nothing else. */
async function againstNone(devices) {
  const three = await connectHost({ domid: 3 })
  const fresh = three.open('gntalloc', options)
  const empty = { alloc: fresh, map }
  const cycleIn3 = () => {
    const request = gntalloc.encodeAllocGref({ domid: 2, flags: 1, count: 1 })
    empty.alloc.ioctl(gntalloc.GNTALLOC_ALLOC_GREF, request)
    const { index, refs } = gntalloc.decodeAllocGrefReply(request, 1)
    const ours = fresh.mmap({ offset: index, length: PAGE_SIZE, prot: 3, flags: 1 })
    const grants = gntdev.encodeMapGrantRef([{ domid: 3, ref: refs[0] }])
    map.ioctl(gntdev.GNTDEV_MAP_GRANT_REF, grants)
    const at = gntdev.decodeMapGrantRefIndex(grants)
    const theirs = map.mmap({ offset: at, length: PAGE_SIZE, prot: 3, flags: 1 })
    two.memory.munmap(theirs, PAGE_SIZE)
    map.ioctl(gntdev.GNTDEV_UNMAP_GRANT_REF, gntdev.encodeUnmapGrantRef({ index: at, count: 1 }))
    three.memory.munmap(ours, PAGE_SIZE)
    fresh.ioctl(gntalloc.GNTALLOC_DEALLOC_GREF, gntalloc.encodeDeallocGref({ index, count: 1 }))
  }
  return compare(() => cycle(1, devices), cycleIn3, 200)
}

function compare(loaded, bareSide, count) {
  const times = { loaded: [], bare: [] }
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    for (const side of round % 2 === 0 ? ['loaded', 'bare'] : ['bare', 'loaded']) {
      const run = side === 'loaded' ? loaded : bareSide
      const start = process.hrtime.bigint()
      for (let i = 0; i < count; i++) run()
      if (round >= 0) times[side].push(Number(process.hrtime.bigint() - start) / count)
    }
  }
  return figures(times)
}

function figures(times) {
  const loadedNs = median(times.loaded)
  const bareNs = median(times.bare)
  return {
    loadedNs: Math.round(loadedNs),
    bareNs: Math.round(bareNs),
    ratio: round2(loadedNs / bareNs),
  }
}
