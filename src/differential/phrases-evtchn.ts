import type { Phrase } from './phrases.ts'
import type { DomidWord, Side, Step } from './sequence.ts'
import type { OpenDescriptor, Situation } from './situation.ts'

const ALL = 4096

/** Both ends of a loopback channel, mostly with the first event drained, which a bind causes. */
const connect: Phrase = now => {
  const { dice } = now
  const near = now.descriptor('evtchn')
  const far = now.descriptor('evtchn')
  if (!near || !far) return []
  const unbound = now.step({
    do: 'bindUnbound',
    fd: near.id,
    to: now.domid(near.process, far.file.side),
  })
  if (dice.chance(10)) return [unbound]
  const port = { of: unbound.id }
  const to = now.domid(far.process, near.file.side)
  const bind = now.step({ do: 'bindInterdomain', fd: far.id, to, port })
  if (dice.chance(20)) return [unbound, bind]
  return [
    unbound,
    bind,
    now.step({ do: 'read', fd: far.id, length: ALL }),
    now.step({ do: 'write', fd: far.id, ports: [{ of: bind.id }], more: 0 }),
  ]
}

const bind: Phrase = now => {
  const fd = now.descriptor('evtchn')
  if (!fd) return []
  const side = now.isPair ? now.dice.of<Side>(0, 1) : fd.file.side
  const port = now.port(side)
  // Dom0's kernel has other ports than a guest's.
  const known = port === 'kernel' ? 'none' : port
  const to = now.domid(fd.process, side)
  return [now.step({ do: 'bindInterdomain', fd: fd.id, to, port: known })]
}

/** Virqs whose state is the same in every domain: the timer's is taken, 24 and up are none. */
const bindVirq: Phrase = now => {
  const fd = now.descriptor('evtchn')
  return fd ? [now.step({ do: 'bindVirq', fd: fd.id, virq: now.dice.of(0, 24, 1000) })] : []
}

const onPort: Phrase = now => {
  const { dice } = now
  const fd = now.busyDescriptor('evtchn')
  if (!fd) return []
  const verb = dice.weighted([
    [10, 'notify'],
    [3, 'unbind'],
    [1, 'bindStatic'],
  ] as const)
  return [now.step({ do: verb ?? 'notify', fd: fd.id, port: now.portOf(fd) })]
}

/** A storm of one port: it is queued once. */
const notifyTwice: Phrase = now => {
  const fd = now.busyDescriptor('evtchn')
  if (!fd) return []
  const port = now.portOf(fd)
  return [1, 2].map(() => now.step({ do: 'notify', fd: fd.id, port }))
}

/** About as many events as a ring has room for, or some more. */
const flood: Phrase = now => {
  const { dice } = now
  const near = now.descriptor('evtchn')
  const far = dice.pick(
    now.descriptors('evtchn').filter(({ file }) => file.side === near?.file.side),
  )
  if (!near || !far) return []
  const unbound = now.step({ do: 'bindUnbound', fd: near.id, to: 'self' })
  const port = { of: unbound.id }
  const bind = now.step({ do: 'bindInterdomain', fd: far.id, to: 'self', port })
  const farPort = { of: bind.id }
  const times = dice.of(3, 62, 63, 64, 65, 70)
  return [
    unbound,
    bind,
    now.step({ do: 'flood', fd: near.id, port, far: far.id, farPort, times }),
    now.step({ do: dice.of('read', 'read', 'poll'), fd: far.id, length: dice.of(ALL, ALL, 3) }),
  ]
}

const read: Phrase = now => {
  const fd = now.busyDescriptor('evtchn')
  if (!fd) return []
  const length = now.dice.chance(85) ? ALL : now.dice.of(0, 3, 4, 7, 8)
  const step = now.step({ do: 'read', fd: fd.id, length })
  return now.dice.chance(50) ? [step] : [step, ...writeBack(now, fd)]
}

const write: Phrase = now => {
  const fd = now.busyDescriptor('evtchn')
  return fd ? writeBack(now, fd) : []
}

const poll: Phrase = now => {
  const fd = now.descriptor(now.dice.of('evtchn', 'evtchn', 'evtchn', 'gntalloc', 'gntdev'))
  return fd ? [now.step({ do: 'poll', fd: fd.id })] : []
}

const reset: Phrase = now => {
  const fd = now.descriptor('evtchn')
  return fd ? [now.step({ do: 'reset', fd: fd.id })] : []
}

const restrict: Phrase = now => {
  const fd = now.descriptor('evtchn')
  const to = now.dice.of<DomidWord>(0x7000, 0x7000, 0x7ff0, 'none')
  return fd ? [now.step({ do: 'restrict', fd: fd.id, to })] : []
}

export const evtchnPhrases: readonly (readonly [number, Phrase])[] = [
  [8, connect],
  [2, bind],
  [1, bindVirq],
  [10, onPort],
  [2, notifyTwice],
  [1, flood],
  [7, read],
  [4, write],
  [4, poll],
  [1, reset],
  [1, restrict],
]

/** What is there to be read, and what comes after it was written back. */
export function drain(now: Situation, fd: OpenDescriptor): Step[] {
  const ports = now.made('port').filter(made => made.file === fd.file)
  return [
    now.step({ do: 'read', fd: fd.id, length: ALL }),
    now.step({ do: 'write', fd: fd.id, ports: ports.map(({ id }) => ({ of: id })), more: 0 }),
    now.step({ do: 'read', fd: fd.id, length: ALL }),
  ]
}

function writeBack(now: Situation, fd: OpenDescriptor): Step[] {
  const { dice } = now
  const ports = Array.from({ length: dice.chance(80) ? 1 : dice.below(4) }, () => now.portOf(fd))
  const more = dice.chance(94) ? 0 : dice.of(1, 3)
  return [now.step({ do: 'write', fd: fd.id, ports, more })]
}
