import { ERRNO } from '../abi/errno.ts'
import { PAGE_SIZE, pagesOf } from '../abi/page.ts'
import { type Address, type Device, isDevice, type Platform } from '../platform.ts'
import type { Reply, Request, RequestOf, SeamOp } from './puppet-protocol.ts'

type Handlers = { [O in SeamOp]: (request: RequestOf<O>) => Reply | Promise<Reply> }

/** Performs requests on a platform: the inside of every puppet that is written in TypeScript. */
export class Agent {
  readonly #platform: Platform
  readonly #devices = new Map<number, Device>()
  /** Every page that we hold, by address, so that a reset never unmaps what is not ours. */
  readonly #pages = new Set<Address>()
  readonly #handlers: Handlers

  /** `inherited` are devices that the platform's process has from its start. */
  constructor(platform: Platform, inherited: Iterable<Device> = []) {
    this.#platform = platform
    for (const device of inherited) this.#devices.set(device.fd, device)
    this.#handlers = { ...this.#deviceHandlers(), ...this.#memoryHandlers() }
  }

  async perform(request: Request): Promise<Reply> {
    const handlers = this.#handlers as Partial<
      Record<string, (request: Request) => Reply | Promise<Reply>>
    >
    const handler = handlers[request.op]
    if (!handler) throw new Error(`no such request: ${String(request.op)}`)
    return handler(request)
  }

  #deviceHandlers(): Omit<Handlers, 'alloc' | 'munmap' | 'protect' | 'peek' | 'poke' | 'reset'> {
    return {
      open: ({ device, access, nonblock }) =>
        this.#adopt(this.#platform.open(device, { access, nonblock })),
      ioctl: ({ fd, number, bytes, address }) => {
        const result = this.#device(fd).ioctl(number, bytes ?? address)
        return bytes ? { result, bytes } : { result }
      },
      mmap: ({ op: _, fd, ...options }) =>
        this.#mapped(this.#device(fd).mmap(options), options.length),
      read: ({ fd, length }) => {
        const into = new Uint8Array(length)
        const result = this.#device(fd).read(into)
        return { result, bytes: into.slice(0, Math.max(0, result)) }
      },
      write: ({ fd, bytes }) => ({ result: this.#device(fd).write(bytes) }),
      poll: ({ fd }) => ({ result: 0, readiness: this.#device(fd).poll() }),
      ready: async ({ fd, timeoutMs }) => ({ result: await until(this.#device(fd), timeoutMs) }),
      dup: ({ fd }) => this.#adopt(this.#device(fd).dup()),
      close: ({ fd }) => {
        this.#device(fd).close()
        this.#devices.delete(fd)
        return { result: 0 }
      },
      exit: () => {
        this.#devices.clear()
        this.#pages.clear()
        this.#platform.close()
        return { result: 0 }
      },
    }
  }

  #memoryHandlers(): Pick<Handlers, 'alloc' | 'munmap' | 'protect' | 'peek' | 'poke' | 'reset'> {
    const { memory } = this.#platform
    return {
      alloc: ({ length, at }) =>
        this.#mapped(at === undefined ? memory.alloc(length) : memory.alloc(length, at), length),
      munmap: ({ address, length }) => {
        const result = memory.munmap(address, length)
        if (result >= 0) for (const page of pages(address, length)) this.#pages.delete(page)
        return { result }
      },
      protect: ({ address, length, prot }) => ({ result: memory.protect(address, length, prot) }),
      peek: ({ address, length }) => ({ result: 0, bytes: memory.view(address, length).slice() }),
      poke: ({ address, bytes }) => {
        memory.view(address, bytes.length).set(bytes)
        return { result: 0 }
      },
      reset: () => {
        for (const run of runsOf(this.#pages)) memory.munmap(run.address, run.length)
        for (const device of this.#devices.values()) device.close()
        this.#pages.clear()
        this.#devices.clear()
        return { result: 0 }
      },
    }
  }

  #device(fd: number): Device {
    const device = this.#devices.get(fd)
    if (!device) throw new Error(`the puppet has no descriptor ${fd}`)
    return device
  }

  #adopt(answer: Device | number): Reply {
    if (!isDevice(answer)) return { result: answer }
    this.#devices.set(answer.fd, answer)
    return { result: answer.fd }
  }

  #mapped(answer: Address | number, length: number): Reply {
    if (answer >= 0) for (const page of pages(answer, length)) this.#pages.add(page)
    return { result: answer }
  }
}

/** The addresses of the pages of a range that starts at a page boundary. */
function pages(address: Address, length: number): Address[] {
  return Array.from({ length: pagesOf(length) }, (_, i) => address + i * PAGE_SIZE)
}

/** Adjacent pages joined, in ascending order: the order in which an exit unmaps them. */
function runsOf(all: ReadonlySet<Address>): { address: Address; length: number }[] {
  const runs: { address: Address; length: number }[] = []
  for (const page of [...all].sort((a, b) => a - b)) {
    const last = runs.at(-1)
    if (last && last.address + last.length === page) last.length += PAGE_SIZE
    else runs.push({ address: page, length: PAGE_SIZE })
  }
  return runs
}

/** 0 once the device is ready, or -ETIMEDOUT: the watchdog's timer must keep the process alive. */
async function until(device: Device, timeoutMs: number): Promise<number> {
  const watchdog = new AbortController()
  const timer = setTimeout(() => watchdog.abort(), timeoutMs)
  try {
    await device.ready(watchdog.signal)
    return 0
  } catch (error) {
    if (watchdog.signal.aborted) return -ERRNO.ETIMEDOUT
    throw error
  } finally {
    clearTimeout(timer)
  }
}
