/**
 * The pure model: a million live grants must cost what none cost, and an address must be found
 * among 100,000 mappings nearly as fast as among 100.
 */
import { seededRandom } from '../dist/base/random.js'
import { compare } from './measure.mjs'
import { ModelRig } from './model-rig.mjs'

const MILLION = 1_000_000
const PAGE_SIZE = 4096

function cycles(each) {
  globalThis.gc?.()
  const loaded = new ModelRig()
  loaded.load(MILLION, each)
  const bare = new ModelRig()
  return compare({ loaded: () => loaded.cycle(), bare: () => bare.cycle() })
}

/** A rig with `count` mappings of one page each, and a look-up of a random one. */
function lookups(count) {
  globalThis.gc?.()
  const rig = new ModelRig()
  const { refs } = rig.share(1)
  const random = seededRandom(count)
  const addresses = []
  for (let i = 0; i < count; i++) {
    // A grant is mapped at most 64 times in PV.
    const [ref] = i % 50 === 0 ? rig.share(1).refs : refs
    if (i % 50 === 0) refs[0] = ref
    const { index } = rig.map(rig.dev, [ref])
    addresses.push(rig.mmap(rig.mapper, rig.dev, index, 1))
  }
  return () => rig.offsetForAddress(addresses[random() % count] + (random() % PAGE_SIZE))
}

export const name = 'model'

export function run() {
  return [
    {
      title: 'share+map+unmap+unshare, 1,000,000 live grants by 1000 a call against none',
      atMost: 1.5,
      ...cycles(1000),
    },
    {
      title: 'share+map+unmap+unshare, 1,000,000 live grants by 1 a call against none',
      atMost: 1.5,
      ...cycles(1),
    },
    {
      title: 'offset for address, 100,000 mappings against 100',
      atMost: 10,
      ...compare({ loaded: lookups(100_000), bare: lookups(100) }),
    },
  ]
}
