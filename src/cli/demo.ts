import { Command } from 'commander'
import { type DemoCast, type DemoPeer, playDemo } from './demo-steps.ts'
import { EXIT, reported, strict } from './usage.ts'

/** All of it, the start of three processes included. */
const DEMO_TIMEOUT_MS = 9000
const DOMID = 1
const PEER_DOMID = 2

export type StartPeer = (
  env: NodeJS.ProcessEnv,
  domid: number,
  signal: AbortSignal,
) => Promise<DemoPeer>

/** `interdom demo`: the tour. Who plays the other process can be replaced. */
export function demoCommand(startPeer?: StartPeer): Command {
  return strict(new Command('demo'))
    .description('two processes share a page, talk, and one learns that the other was killed')
    .addHelpText(
      'after',
      '\nNeeds no Xen: it starts a simulated machine in a directory of its own and leaves\n' +
        'nothing behind. Exits 0 when every step went as it should, 1 when one did not.',
    )
    .action((_flags: object, command: Command) => reported(command, () => demo(startPeer)))
}

async function demo(startPeer?: StartPeer): Promise<void> {
  const say = (line: string) => process.stdout.write(`${line}\n`)
  say('Two processes play two domains of Xen on a simulated machine.\n')
  const isGood = await runDemo(say, startPeer)
  say(isGood ? '\nEverything was as it should be.' : '\nThat is not as it should be.')
  if (!isGood) process.exitCode = EXIT.failed
}

/** Sets the stage, plays the steps, and clears the stage whatever happened. */
async function runDemo(say: (line: string) => void, startPeer?: StartPeer): Promise<boolean> {
  const stage = new Stage()
  try {
    return await playDemo(await cast(stage, startPeer), say)
  } finally {
    await stage.clear()
  }
}

async function cast(stage: Stage, startPeer?: StartPeer): Promise<DemoCast> {
  const { startHost } = await import('../start-host.ts')
  const machine = await startHost()
  stage.add(() => machine.close())
  const xen = await machine.connect({ domid: DOMID })
  const start = startPeer ?? (await import('./demo-peer.ts')).startPeer
  const peer = await start(machine.env(PEER_DOMID), PEER_DOMID, stage.signal)
  stage.add(() => peer.kill())
  return { machine, xen, peer, signal: stage.signal }
}

/** What the demo set up, to be taken down in reverse, also when it is interrupted. */
class Stage {
  readonly #undo: (() => Promise<void>)[] = []
  readonly #stop = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #interrupt = () => this.#stop.abort(new Error('interrupted'))

  constructor() {
    const late = new Error(`the demo did not end within ${DEMO_TIMEOUT_MS} ms`)
    this.#timer = setTimeout(() => this.#stop.abort(late), DEMO_TIMEOUT_MS)
    process.once('SIGINT', this.#interrupt).once('SIGTERM', this.#interrupt)
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  add(undo: () => Promise<void>): void {
    this.#undo.push(undo)
  }

  async clear(): Promise<void> {
    clearTimeout(this.#timer)
    process.off('SIGINT', this.#interrupt).off('SIGTERM', this.#interrupt)
    // A process that did not get so far as to be on the list goes with the signal.
    this.#stop.abort()
    for (const undo of this.#undo.reverse()) await undo()
  }
}
