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
  const { process } = book
  const bound = (port: Result): string => adoptPort(play, step.id, book, port)
  switch (step.do) {
    case 'bindUnbound':
      return bound(await evtchn.bindUnbound(play.domid(step.to, process)))
    case 'bindInterdomain': {
      const port = play.port(step.port, process, step.to)
      return bound(await evtchn.bindInterdomain(port, play.domid(step.to, process)))
    }
    case 'bindVirq':
      return bound(await evtchn.bindVirq(step.virq))
    case 'bindStatic':
      return resultText(await evtchn.bindStatic(play.port(step.port, process)))
    case 'unbind': {
      const port = play.port(step.port, process)
      const result = await evtchn.unbind(port)
      if (result === 0) book.file.ports.delete(port)
      return resultText(result)
    }
    case 'notify':
      return resultText(await evtchn.notify(play.port(step.port, process)))
    case 'reset':
      return resultText(await evtchn.reset())
    case 'restrict':
      return resultText(await evtchn.restrict(play.domid(step.to, process)))
    case 'read':
      return read(play, step, book, evtchn, expected)
    case 'write':
      return write(play, step, book, evtchn)
    case 'flood':
      return flood(play, step, book, evtchn)
    default:
      return 'no such call'
  }
}

async function read(
  play: Play,
  step: StepOf<'read'>,
  { file }: DescriptorBook,
  evtchn: Evtchn,
  expected: string | undefined,
): Promise<string> {
  // What the model has seen come will come, however slow the machine.
  if (expected?.startsWith(READ)) await evtchn.puppet.ready(evtchn.fd, EVENT_WITHIN_MS)
  const { result, ports } = await evtchn.readPorts(step.length)
  return result > 0 ? `${READ} ${play.portNames(ports, file.side)}` : resultText(result)
}

async function write(
  play: Play,
  step: StepOf<'write'>,
  { process }: DescriptorBook,
  evtchn: Evtchn,
): Promise<string> {
  const ports = encodePorts(step.ports.map(word => play.port(word, process)))
  const bytes = new Uint8Array(ports.length + step.more)
  bytes.set(ports)
  return resultText(await evtchn.write(bytes))
}

/** The answers in a row: each pair of a NOTIFY and a write once, with how often it came. */
async function flood(
  play: Play,
  step: StepOf<'flood'>,
  { process }: DescriptorBook,
  evtchn: Evtchn,
): Promise<string> {
  const far = play.open(step.far)
  if (far?.file.device !== 'evtchn') return 'no descriptor'
  const receiver = new Evtchn(await play.facts(far))
  const port = play.port(step.port, process)
  const farPort = play.port(step.farPort, far.process)
  const answers: { text: string; times: number }[] = []
  for (let i = 0; i < step.times; i++) {
    const sent = resultText(await evtchn.notify(port))
    const text = `${sent}/${resultText(await receiver.writePorts(farPort))}`
    const last = answers.at(-1)
    if (last?.text === text) last.times++
    else answers.push({ text, times: 1 })
  }
  return answers.map(({ text, times }) => `${text} x${times}`).join(' ')
}

function adoptPort(play: Play, id: number, { file }: DescriptorBook, port: Result): string {
  if (port <= 0) return resultText(port)
  file.ports.add(port)
  play.made.set(id, { file, port })
  return play.portName(port, file.side)
}
