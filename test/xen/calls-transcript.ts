/** What tracer.c told of a program's calls, in words that do not change from run to run. */

/** The calls of each step, by the step's name, in their order. */
export type Transcript = ReadonlyMap<string, readonly string[]>

/** Names instead of numbers, given in the order in which the numbers come up. */
class Names {
  readonly #prefix: string
  readonly #names = new Map<string, string>()

  constructor(prefix: string) {
    this.#prefix = prefix
  }

  of(value: number | bigint | string): string {
    const key = String(value)
    const name = this.#names.get(key) ?? `${this.#prefix}${this.#names.size + 1}`
    this.#names.set(key, name)
    return name
  }
}

const OPEN_FLAGS: readonly [number, string][] = [
  [0o2, 'O_RDWR'],
  [0o4000, 'O_NONBLOCK'],
  [0o2000000, 'O_CLOEXEC'],
]

export function readTranscript(trace: string): Transcript {
  const reader = new Reader()
  for (const line of trace.trimEnd().split('\n')) reader.read(line)
  return reader.steps
}

class Reader {
  readonly steps = new Map<string, string[]>()
  readonly #ports = new Names('port')
  readonly #refs = new Names('ref')
  readonly #addresses = new Names('address')
  #step: string[] = []

  read(line: string): void {
    const [verb = '', ...words] = line.split(' ')
    if (verb === 'step') {
      this.#step = []
      this.steps.set(words.join(' '), this.#step)
      return
    }
    // FIONBIO: libuv's, where it begins to watch; docs/libxen.md.
    if (verb === 'ioctl' && words[1] === '5421') return
    const told = this.#tell(verb, words)
    if (told === undefined) throw new Error(`not a line of the tracer: ${line}`)
    this.#step.push(told)
  }

  #tell(verb: string, words: readonly string[]): string | undefined {
    const [device = '', first = '', second = '', third = '', fourth = '', fifth = ''] = words
    switch (verb) {
      case 'open':
        return `open ${device} ${openFlags(Number.parseInt(first, 16))}`
      case 'close':
        return `close ${device}`
      case 'ioctl':
        return this.#ioctl(
          Number.parseInt(first, 16),
          Number(second),
          bytesOf(third),
          bytesOf(fourth),
        )
      case 'mmap': {
        const prot = Number.parseInt(second, 16) & 2 ? 'read-write' : 'read-only'
        const shared = Number.parseInt(third, 16) === 1 ? 'shared' : `flags 0x${third}`
        const place = `${prot} ${shared} at 0x${fourth} = ${this.#addresses.of(fifth)}`
        return `mmap ${device} ${pagesOf(first)} ${place}`
      }
      case 'munmap':
      case 'over':
        return `${verb} ${this.#addresses.of(device)} ${pagesOf(first)}`
      case 'read':
      case 'write': {
        const bytes = bytesOf(third)
        const ports = [...Array(bytes.length / 4).keys()].map(i => this.#port(bytes, 4 * i))
        const answer = Number(second) < 0 ? 'EAGAIN' : ports.join(' ')
        return `${verb} ${device} ${Number.parseInt(first, 16)} bytes: ${answer}`
      }
      default:
        return undefined
    }
  }

  /** Padding and what the caller left in the fields that the driver fills are nobody's concern. */
  #ioctl(number: number, result: number, before: Buffer, after: Buffer): string | undefined {
    const u32 = (at: number): number => before.readUInt32LE(at)
    const index = (bytes: Buffer, at: number): string =>
      `0x${bytes.readBigUInt64LE(at).toString(16)}`
    const done = result === 0 ? '' : ` = ${result}`
    switch (number) {
      case 0x184705: {
        const refs = [...Array(u32(4)).keys()].map(i =>
          this.#refs.of(after.readUInt32LE(16 + 4 * i)),
        )
        const [domid, flags] = [before.readUInt16LE(0), before.readUInt16LE(2)]
        const wanted = `domid ${domid} flags ${flags} count ${u32(4)}`
        return `ALLOC_GREF ${wanted} = index ${index(after, 8)} ${refs.join(' ')}${done}`
      }
      case 0x104706:
        return `DEALLOC_GREF index ${index(before, 0)} count ${u32(8)}${done}`
      case 0x104707: {
        const port = this.#port(before, 12)
        return `SET_UNMAP_NOTIFY index ${index(before, 0)} action ${u32(8)} ${port}${done}`
      }
      case 0x184700: {
        const grants = [...Array(u32(0)).keys()].map(
          i => `${u32(16 + 8 * i)}:${this.#refs.of(u32(20 + 8 * i))}`,
        )
        return `MAP_GRANT_REF ${grants.join(' ')} = index ${index(after, 8)}${done}`
      }
      case 0x104701:
        return `UNMAP_GRANT_REF index ${index(before, 0)} count ${u32(8)}${done}`
      case 0x184702: {
        const vaddr = this.#addresses.of(before.readBigUInt64LE(0).toString(16))
        const answer = `index ${index(after, 8)} count ${after.readUInt32LE(16)}`
        return `GET_OFFSET_FOR_VADDR ${vaddr} = ${answer}${done}`
      }
      case 0x44502:
        return `BIND_UNBOUND_PORT domid ${u32(0)} = ${this.#ports.of(result)}`
      case 0x84501: {
        const remote = this.#port(before, 4)
        return `BIND_INTERDOMAIN domid ${u32(0)} ${remote} = ${this.#ports.of(result)}`
      }
      case 0x44503:
        return `UNBIND ${this.#port(before, 0)}${done}`
      case 0x44504:
        return `NOTIFY ${this.#port(before, 0)}${done}`
      default:
        return undefined
    }
  }

  #port(bytes: Buffer, at: number): string {
    return this.#ports.of(bytes.readUInt32LE(at))
  }
}

function openFlags(value: number): string {
  const known = OPEN_FLAGS.filter(([flag]) => value & flag)
  const rest = known.reduce((left, [flag]) => left & ~flag, value)
  return [...known.map(([, name]) => name), ...(rest ? [`0x${rest.toString(16)}`] : [])].join('|')
}

function pagesOf(length: string): string {
  const pages = Number.parseInt(length, 16) / 4096
  return pages === 1 ? '1 page' : `${pages} pages`
}

function bytesOf(hex: string): Buffer {
  return Buffer.from(hex === '-' ? '' : hex, 'hex')
}

/**
 * Both in one text: the calls that are the same as they are, before those of Xen's libraries alone
 * a `-`, before ours alone a `+`.
 */
export function compare(theirs: Transcript, ours: Transcript): string {
  const steps = new Set([...theirs.keys(), ...ours.keys()])
  const lines: string[] = []
  for (const step of steps) {
    const calls = merged(theirs.get(step) ?? [], ours.get(step) ?? [])
    if (calls.length > 0) lines.push(step, ...calls)
  }
  return lines.join('\n')
}

/** The longest common subsequence stays, the rest goes to one side; the lists are short. */
function merged(theirs: readonly string[], ours: readonly string[]): string[] {
  const [first, ...rest] = theirs
  if (first === undefined) return ours.map(call => `+ ${call}`)
  const at = ours.indexOf(first)
  const without = [`- ${first}`, ...merged(rest, ours)]
  if (at < 0) return without
  const skipped = ours.slice(0, at).map(call => `+ ${call}`)
  const withIt = [...skipped, `  ${first}`, ...merged(rest, ours.slice(at + 1))]
  const common = (lines: readonly string[]): number => lines.filter(l => l.startsWith(' ')).length
  return common(withIt) >= common(without) ? withIt : without
}
