import { encodePorts } from '../abi/evtchn.ts'
import { Evtchn } from '../conformance/evtchn.ts'
import type { Result } from '../platform.ts'
import { EVENT_WITHIN_MS } from './limits.ts'
import { type DescriptorBook, type Play, resultText } from './play.ts'
import type { Step, StepOf } from './sequence.ts'

/** How a read that found something begins. */
const READ = 'read'

/** Steps on a descriptor of evtchn; one that it does not know is not played. */
export async function performOnEvtchn(
  play: Play,
  step: Step,
  book: DescriptorBook,
  expected: string | undefined,
): Promise<string> {
  const evtchn = new Evtchn(await play.facts(book))
  const bound = (port: Result): string => adoptPort(play, step.id, book, port)
  switch (step.do) {
    case 'bindUnbound':
      return bound(await evtchn.bindUnbound(play.domid(step.to)))
    case 'bindInterdomain':
      return bound(await evtchn.bindInterdomain(play.port(step.port), play.domid(step.to)))
    case 'bindVirq':
      return bound(await evtchn.bindVirq(step.virq))
    case 'bindStatic':
      return resultText(await evtchn.bindStatic(play.port(step.port)))
    case 'unbind': {
      const port = play.port(step.port)
      const result = await evtchn.unbind(port)
      if (result === 0) book.file.ports.delete(port)
      return resultText(result)
    }
    case 'notify':
      return resultText(await evtchn.notify(play.port(step.port)))
    case 'reset':
      return resultText(await evtchn.reset())
    case 'restrict':
      return resultText(await evtchn.restrict(play.domid(step.to)))
    case 'read':
      return read(play, step, evtchn, expected)
    case 'write':
      return write(play, step, evtchn)
    default:
      return 'no such call'
  }
}

async function read(
  play: Play,
  step: StepOf<'read'>,
  evtchn: Evtchn,
  expected: string | undefined,
): Promise<string> {
  // What the model has seen come will come, however slow the machine.
  if (expected?.startsWith(READ)) await evtchn.puppet.ready(evtchn.fd, EVENT_WITHIN_MS)
  const { result, ports } = await evtchn.readPorts(step.length)
  return result > 0 ? `${READ} ${play.portNames(ports)}` : resultText(result)
}

async function write(play: Play, step: StepOf<'write'>, evtchn: Evtchn): Promise<string> {
  const ports = encodePorts(step.ports.map(word => play.port(word)))
  const bytes = new Uint8Array(ports.length + step.more)
  bytes.set(ports)
  return resultText(await evtchn.write(bytes))
}

function adoptPort(play: Play, id: number, { file }: DescriptorBook, port: Result): string {
  if (port <= 0) return resultText(port)
  file.ports.add(port)
  play.made.set(id, { file, port })
  return play.portName(port)
}
