import { closeSync, openSync, readSync } from 'node:fs'
import { StringDecoder } from 'node:string_decoder'
import { keptCharacters } from './limits.ts'

const chunkSize = 64 * 1024

/** Reads a file that another process appends to, and tells its lines as they get complete. */
export class Follower {
  #file: number | undefined
  #position = 0
  #text = ''
  #line = ''
  readonly #path: string
  readonly #onLine: (line: string) => void
  readonly #decoder = new StringDecoder('utf8')
  readonly #chunk = Buffer.alloc(chunkSize)

  constructor(path: string, onLine: (line: string) => void) {
    this.#path = path
    this.#onLine = onLine
  }

  /** All that was read so far. */
  get text(): string {
    return this.#text
  }

  /** Reads what was added since the last time; a file that is not there yet is empty. */
  poll(): void {
    if (this.#file === undefined && !this.#open()) return
    const file = this.#file as number
    for (;;) {
      const count = readSync(file, this.#chunk, 0, chunkSize, this.#position)
      if (count === 0) return
      this.#position += count
      this.#take(this.#decoder.write(this.#chunk.subarray(0, count)))
    }
  }

  /** Reads the rest, tells an unfinished last line too, and closes the file. */
  finish(): void {
    this.poll()
    this.#take(this.#decoder.end())
    if (this.#line !== '') this.#onLine(this.#line)
    this.#line = ''
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }

  #open(): boolean {
    try {
      this.#file = openSync(this.#path, 'r')
      return true
    } catch {
      return false
    }
  }

  #take(text: string): void {
    if (this.#text.length < keptCharacters) this.#text += text
    const lines = (this.#line + text).split('\n')
    this.#line = lines.pop() ?? ''
    for (const line of lines) this.#onLine(line)
  }
}
