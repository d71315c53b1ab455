import type { GrantName } from '../abi/gntdev.ts'
import type { Connection } from '../connection.ts'
import type { Port } from '../evtchn/port.ts'
import type { Share } from '../grant/share.ts'

/** The other process of the demo, domain 2. A test puts a liar in its place. */
export interface DemoPeer {
  readonly pid: number
  readonly domid: number
  /** Maps the page and answers the text in it. */
  map(grants: readonly GrantName[]): Promise<string>
  /** Writes a text into the page. */
  write(text: string): Promise<void>
  /** Binds to a port of ours. */
  bind(port: number): Promise<void>
  /** Answers after the next event. */
  hear(): Promise<void>
  notify(): Promise<void>
  /** Sets the byte, and arms it to be cleared, and its port to be notified, when the page goes. */
  arm(clearByte: number): Promise<void>
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>
}

export interface DemoMachine {
  readonly pid: number
  /** What is granted, mapped or bound: one line each. */
  leftovers(): Promise<readonly string[]>
}

export interface DemoCast {
  readonly machine: DemoMachine
  readonly xen: Connection
  readonly peer: DemoPeer
  /** Ends every wait when the demo takes too long. */
  readonly signal: AbortSignal
}

/** What is handed from step to step. */
interface Props {
  page?: Share
  bell?: Port
}

/** One step: what it says when all was as it should be; it throws when not. */
interface DemoStep {
  readonly title: string
  run(cast: DemoCast, props: Props): Promise<string>
}

const TEXT_SIZE = 64
const ALIVE_BYTE = 72
const HELLO = 'hello from domain 1'
const REPLY = 'hello from domain 2'

const STEPS: readonly DemoStep[] = [
  {
    title: 'A simulated machine',
    run: async ({ machine, xen, peer }) => {
      expectThat(new Set([machine.pid, process.pid, peer.pid]).size, 3, 'processes')
      return (
        `process ${machine.pid} is the machine, process ${process.pid} (this one) is domain ` +
        `${xen.domid}, process ${peer.pid} is domain ${peer.domid}`
      )
    },
  },
  {
    title: 'Share a page',
    run: async ({ xen, peer }, props) => {
      const page = xen.share({ to: peer.domid, writable: true })
      props.page = page
      write(page.bytes, HELLO)
      const names = JSON.stringify(page.grants)
      return `domain ${xen.domid} grants a page and writes "${HELLO}": ${names}`
    },
  },
  {
    title: 'Map it in the other process',
    run: async ({ peer }, props) => {
      const seen = await peer.map(the(props.page).grants)
      expectThat(seen, HELLO, `what domain ${peer.domid} reads`)
      return `domain ${peer.domid} maps the grant and reads "${HELLO}"`
    },
  },
  {
    title: 'Talk over it',
    run: async ({ xen, peer }, props) => {
      await peer.write(REPLY)
      expectThat(read(the(props.page).bytes), REPLY, `what domain ${xen.domid} reads`)
      return `domain ${peer.domid} writes, domain ${xen.domid} reads "${REPLY}": the same memory`
    },
  },
  {
    title: 'An event channel',
    run: async ({ xen, peer, signal }, props) => {
      const bell = xen.evtchn.bindUnbound({ to: peer.domid })
      props.bell = bell
      await peer.bind(bell.port)
      const heard = peer.hear()
      bell.notify()
      await heard
      await peer.notify()
      await next(bell, signal)
      return `port ${bell.port}: domain ${peer.domid} hears our notify, and we hear its`
    },
  },
  {
    title: 'Ask to be told of its end',
    run: async ({ peer }, props) => {
      await peer.arm(ALIVE_BYTE)
      expectThat(the(props.page).bytes[ALIVE_BYTE], 1, `byte ${ALIVE_BYTE}`)
      return `domain ${peer.domid} sets byte ${ALIVE_BYTE} to 1, to be cleared with the mapping`
    },
  },
  {
    title: 'SIGKILL',
    run: async ({ peer, signal }, props) => {
      const start = performance.now()
      const told = next(the(props.bell), signal)
      await Promise.all([told, peer.kill()])
      const ms = (performance.now() - start).toFixed(1)
      expectThat(the(props.page).bytes[ALIVE_BYTE], 0, `byte ${ALIVE_BYTE} after the kill`)
      return `process ${peer.pid} is killed; ${ms} ms later the event came and the byte is 0`
    },
  },
  {
    title: 'Clean up',
    run: async ({ machine, xen }, props) => {
      the(props.page).unmap()
      the(props.bell).unbind()
      xen.close()
      expectThat((await machine.leftovers()).join('; '), '', 'what is left in the machine')
      return 'nothing is granted, mapped or bound any more'
    },
  },
]

/** A prop that an earlier step has brought; the demo ends at the first that did not. */
function the<T>(prop: T | undefined): T {
  if (prop === undefined) throw new Error('a step before this one was left out')
  return prop
}

async function next(port: Port, signal: AbortSignal): Promise<void> {
  for await (const _ of port.events({ signal })) return
  throw new Error(`port ${port.port} was closed while its event was awaited`)
}

function expectThat(seen: unknown, wanted: unknown, what: string): void {
  if (seen === wanted) return
  throw new Error(`${what}: expected ${JSON.stringify(wanted)}, saw ${JSON.stringify(seen)}`)
}

/** Text in the page: UTF-8 up to a zero, 64 bytes at most. */
export function write(page: Uint8Array, text: string): void {
  page.fill(0, 0, TEXT_SIZE)
  page.set(new TextEncoder().encode(text).subarray(0, TEXT_SIZE))
}

export function read(page: Uint8Array): string {
  const bytes = page.slice(0, TEXT_SIZE)
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? TEXT_SIZE : end))
}

/** Plays the steps until one fails, or the signal ends it. Answers whether all went well. */
export async function playDemo(cast: DemoCast, say: (line: string) => void): Promise<boolean> {
  const props: Props = {}
  const ended = new Promise<never>((_, reject) => {
    cast.signal.addEventListener('abort', () => reject(cast.signal.reason), { once: true })
  })
  ended.catch(() => undefined)
  for (const [i, step] of STEPS.entries()) {
    try {
      const seen = await Promise.race([step.run(cast, props), ended])
      say(`${i + 1}. ${step.title}\n   ok: ${seen}`)
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      say(`${i + 1}. ${step.title}\n   FAILED: ${message}`)
      return false
    }
  }
  return true
}
