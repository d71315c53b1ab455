import { join } from 'node:path'
import type { DomainName } from './domain-names.ts'
import { Follower } from './follower.ts'
import { streams } from './job.ts'

/** A line from a domain's command, or from the machine's console. */
export interface OutputLine {
  domain: DomainName | 'machine'
  stream: 'stdout' | 'stderr' | 'console'
  line: string
}

/** What a domain's command has written. */
export interface Output {
  stdout: string
  stderr: string
  /** Both, line by line in the order in which they arrived. */
  output: string
}

type Listener = (line: OutputLine) => void

/** Gathers what the domains write, while they write it. */
export class Recorder {
  readonly #followers: Follower[] = []
  readonly #domains = new Map<DomainName, { stdout: Follower; stderr: Follower; lines: string[] }>()
  readonly #host: string
  readonly #listener: Listener | undefined

  constructor(host: string, listener: Listener | undefined) {
    this.#host = host
    this.#listener = listener
  }

  followDomain(domain: DomainName): void {
    const lines: string[] = []
    const [stdout, stderr] = streams(domain).map((file, index) => {
      const stream = index === 0 ? 'stdout' : 'stderr'
      return this.#follow(join(this.#host, file), line => {
        lines.push(line)
        this.#listener?.({ domain, stream, line })
      })
    }) as [Follower, Follower]
    this.#domains.set(domain, { stdout, stderr, lines })
  }

  followConsole(path: string): void {
    this.#follow(path, line =>
      this.#listener?.({ domain: 'machine', stream: 'console', line: line.trimEnd() }),
    )
  }

  poll(): void {
    for (const follower of this.#followers) follower.poll()
  }

  finish(): void {
    for (const follower of this.#followers) follower.finish()
  }

  outputOf(domain: DomainName): Output {
    const record = this.#domains.get(domain)
    return {
      stdout: record?.stdout.text ?? '',
      stderr: record?.stderr.text ?? '',
      output: (record?.lines ?? []).map(line => `${line}\n`).join(''),
    }
  }

  #follow(path: string, onLine: (line: string) => void): Follower {
    const follower = new Follower(path, onLine)
    this.#followers.push(follower)
    return follower
  }
}
