import { afterEach, describe, expect, test, vi } from 'vitest'
import { ManualClock } from '../../src/base/clock.ts'
import { GrantTable } from '../../src/hypervisor/grant-table.ts'
import { GrantMap } from '../../src/kernel/grant-map.ts'
import { Grefs } from '../../src/kernel/grefs.ts'
import { PortBindings } from '../../src/kernel/port-bindings.ts'
import { countMerges, merges } from './merges.ts'
import { type Cast, Stage, type Step } from './stage.ts'

/**
 * Every order of a few calls of several processes, none left out: after each call the model is
 * compared with a ledger that is kept in another way (ledger.ts). The bounds are the scripts'
 * lengths; INTERDOM_INTERLEAVINGS=long plays the long ones too, for some minutes.
 */
interface Play extends Cast {
  readonly title: string
  /** What each actor does, in its order. Who has two scripts may be interrupted by the second. */
  readonly scripts: readonly (readonly Step[])[]
  /** Orders, written down so that none can be lost unseen. */
  readonly orders: number
}

const ONE_EACH = { A: 1, B: 2 } as const
const KINDS = ['pv', 'hvm'] as const

const shares = ['A.alloc', 'A.arm', 'A.mmap', 'A.dealloc', 'A.munmap'] as const
const maps = ['B.map', 'B.mmapGrant', 'B.armGrant', 'B.unmap', 'B.munmap'] as const
const grants = ['A.alloc', 'A.arm', 'A.dealloc'] as const
const borrows = ['B.map', 'B.mmapGrant', 'B.armGrant', 'B.munmap'] as const

const PLAYS: readonly Play[] = [
  {
    title: 'a page is shared and taken back, and mapped and let go',
    players: ONE_EACH,
    scripts: [shares, maps],
    orders: 252,
  },
  {
    title: 'both close their devices first and unmap later',
    players: ONE_EACH,
    scripts: [
      ['A.alloc', 'A.arm', 'A.mmap', 'A.closeGntalloc', 'A.munmap'],
      ['B.map', 'B.mmapGrant', 'B.armGrant', 'B.closeGntdev', 'B.munmap'],
    ],
    orders: 252,
  },
  {
    title: 'a second descriptor keeps what the first one opened',
    players: ONE_EACH,
    scripts: [
      ['A.alloc', 'A.arm', 'A.dupGntalloc', 'A.closeGntalloc', 'A.closeGntalloc'],
      ['B.map', 'B.dupGntdev', 'B.mmapGrant', 'B.closeGntdev', 'B.munmap', 'B.closeGntdev'],
    ],
    orders: 462,
  },
  {
    title: 'a granter dies at any moment',
    players: ONE_EACH,
    scripts: [shares, borrows, ['A.kill']],
    orders: 1260,
  },
  {
    title: 'a mapper dies at any moment',
    players: ONE_EACH,
    scripts: [grants, maps, ['B.kill']],
    orders: 504,
  },
  {
    title: 'both die, one after the other',
    players: ONE_EACH,
    scripts: [grants, borrows, ['A.kill'], ['B.kill']],
    orders: 2520,
  },
  {
    title: 'a domain is destroyed at any moment, and nothing of it fires',
    players: ONE_EACH,
    scripts: [grants, maps, ['destroy 1']],
    orders: 504,
  },
  {
    title: 'a mapping domain is destroyed at any moment',
    players: ONE_EACH,
    scripts: [shares, borrows, ['destroy 2']],
    orders: 1260,
  },
  {
    title: 'a ref that is still mapped waits for the timer, and is not handed out meanwhile',
    players: ONE_EACH,
    scripts: [
      ['A.alloc', 'A.dealloc', 'A.alloc'],
      ['B.map', 'B.mmapGrant', 'B.munmap', 'B.unmap'],
      ['second', 'second'],
    ],
    orders: 1260,
  },
  {
    title: 'a quota of one page counts neither more nor less than what lives',
    players: ONE_EACH,
    quota: 1,
    scripts: [
      ['A.alloc', 'A.mmap', 'A.dealloc', 'A.alloc', 'A.munmap', 'A.alloc'],
      ['B.map', 'B.mmapGrant', 'B.munmap'],
      ['second'],
    ],
    orders: 840,
  },
  {
    title: 'a copy finds the grant, or what came after it, or nothing',
    players: ONE_EACH,
    scripts: [
      ['A.alloc', 'A.dealloc', 'A.alloc'],
      ['B.copy', 'B.copy'],
      ['B.map', 'B.mmapGrant', 'B.munmap'],
      ['second'],
    ],
    orders: 5040,
  },
  {
    title: 'a notification is set, set anew and cleared while the page comes and goes',
    players: ONE_EACH,
    scripts: [
      ['A.alloc', 'A.arm', 'A.disarm', 'A.arm', 'A.dealloc'],
      ['B.map', 'B.armGrant', 'B.mmapGrant', 'B.disarmGrant', 'B.unmap'],
    ],
    orders: 252,
  },
  {
    title: 'a channel is bound, used and let go from both ends',
    players: ONE_EACH,
    scripts: [
      ['A.bind', 'A.notify', 'A.unbind', 'A.bind', 'A.closeEvtchn'],
      ['B.connect', 'B.notify', 'B.unbind', 'B.connect', 'B.closeEvtchn'],
    ],
    orders: 252,
  },
  {
    title: 'a notification keeps its port, whoever lets it go, and rings once',
    players: ONE_EACH,
    scripts: [
      ['A.alloc', 'A.bind', 'A.armPort', 'A.unbind', 'A.dealloc'],
      ['B.connect', 'B.notify', 'B.closeEvtchn'],
      ['A.kill'],
    ],
    orders: 504,
  },
  {
    title: 'the last to hear of a page dies before, after or with it',
    players: ONE_EACH,
    scripts: [
      ['A.alloc', 'A.bind', 'A.armPort', 'A.closeEvtchn'],
      ['B.connect', 'B.connect'],
      ['A.kill'],
      ['B.kill'],
    ],
    orders: 840,
  },
  {
    title: 'two processes of a domain map what a third one grants',
    players: { A: 1, B: 2, C: 2 },
    scripts: [
      ['A.alloc', 'A.arm', 'A.dealloc'],
      ['B.map', 'B.mmapGrant', 'B.munmap'],
      ['C.map', 'C.mmapGrant', 'C.kill'],
    ],
    orders: 1680,
  },
  {
    title: 'the pages of a host: its chunks count what is granted, and go with their process',
    players: ONE_EACH,
    withChunks: true,
    scripts: [['A.alloc', 'A.dealloc', 'A.alloc'], ['B.map', 'B.mmapGrant', 'B.kill'], ['A.kill']],
    orders: 140,
  },
]

/** Two processes of one domain: HVM must not map its own pages, which destroys them. */
const PV_PLAYS: readonly Play[] = [
  {
    title: 'two processes of one domain share a page',
    players: { A: 1, B: 1 },
    scripts: [shares, borrows, ['B.kill']],
    orders: 1260,
  },
]

const LONG_PLAYS: readonly Play[] = [
  {
    title: 'a page is shared and mapped, and both die',
    players: ONE_EACH,
    scripts: [shares, maps, ['A.kill'], ['B.kill']],
    orders: 33_264,
  },
  {
    title: 'three processes, of which one is killed',
    players: { A: 1, B: 2, C: 2 },
    scripts: [
      ['A.alloc', 'A.arm', 'A.dealloc', 'A.alloc'],
      ['B.map', 'B.mmapGrant', 'B.armGrant', 'B.munmap'],
      ['C.map', 'C.mmapGrant', 'C.munmap', 'C.kill'],
    ],
    orders: 34_650,
  },
]

/** Plays a script in every order, each on a machine of its own. Answers how many there were. */
function playAll({ scripts, ...cast }: Play, kind: 'pv' | 'hvm'): number {
  let orders = 0
  for (const order of merges(scripts.map(({ length }) => length))) {
    const next = scripts.map(() => 0)
    const played: Step[] = []
    try {
      const stage = new Stage({ ...cast, kind })
      for (const script of order) {
        const step = scripts[script]?.[next[script] ?? 0] as Step
        next[script] = (next[script] ?? 0) + 1
        played.push(step)
        stage.play(step)
      }
      stage.finish()
    } catch (cause) {
      throw new Error(`after ${played.join(', ')}: ${(cause as Error).message}`, { cause })
    }
    orders++
  }
  return orders
}

const isLong = process.env['INTERDOM_INTERLEAVINGS'] === 'long'
const plays = [...PLAYS, ...(isLong ? LONG_PLAYS : [])]

for (const kind of KINDS) {
  describe(`in every order, in domains that are ${kind},`, () => {
    test.each(kind === 'pv' ? [...plays, ...PV_PLAYS] : plays)('$title', play => {
      expect(countMerges(play.scripts.map(({ length }) => length))).toBe(play.orders)
      expect(playAll(play, kind)).toBe(play.orders)
    })
  })
}

/** Rules of the model that are broken, and what the ledger then says. */
const BREAKAGES: readonly { rule: string; breakIt: () => void; says: RegExp }[] = [
  {
    rule: 'a mapping does not keep its page',
    breakIt: () => vi.spyOn(Grefs.prototype, 'hold').mockImplementation(() => {}),
    says: /what was done: byte 100 of frame 0,event at 9:5, and not $/,
  },
  {
    rule: 'an event is sent twice',
    breakIt: () => {
      const { send } = PortBindings.prototype
      vi.spyOn(PortBindings.prototype, 'send').mockImplementation(function (
        this: PortBindings,
        port,
      ) {
        send.call(this, port)
        send.call(this, port)
      })
    },
    says: /what was done: byte 100 of frame 0,event at 9:5,event at 9:5, and not byte/,
  },
  {
    rule: 'a page that is mapped is freed',
    breakIt: () => vi.spyOn(GrantTable.prototype, 'isInUse').mockReturnValue(false),
    says: /ref 8 is in use: false, and not true/,
  },
  {
    rule: 'munmap keeps the pins',
    breakIt: () => vi.spyOn(GrantMap.prototype, 'revoke').mockImplementation(() => {}),
    says: /what was done: event at 9:6, and not byte 100 of frame 0,event at 9:6/,
  },
  {
    rule: 'a notification does not keep its port',
    breakIt: () => vi.spyOn(PortBindings.prototype, 'get').mockReturnValue(true),
    says: /ports that are held/,
  },
  {
    rule: 'the timer never runs',
    breakIt: () => vi.spyOn(ManualClock.prototype, 'after').mockReturnValue({ cancel() {} }),
    says: /a free page is out: true, and not false/,
  },
]

describe('the ledger notices when', () => {
  afterEach(() => vi.restoreAllMocks())

  test.each(BREAKAGES)('$rule', ({ breakIt, says }) => {
    breakIt()
    expect(() => {
      for (const play of PLAYS) playAll(play, 'pv')
    }).toThrow(says)
  })
})
