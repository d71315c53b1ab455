import { writeSync } from 'node:fs'
import { LOG_LINES_PER_SECOND } from './limits.ts'

/** The host's log: its standard error. A client that is hostile all day does not fill a disk. */
export class HostLog {
  #second = 0
  #lines = 0

  say(what: string, reason: unknown): void {
    const second = Math.floor(performance.now() / 1000)
    if (second !== this.#second) {
      const unsaid = this.#lines - LOG_LINES_PER_SECOND
      this.#second = second
      this.#lines = 0
      if (unsaid > 0) this.#write(`${unsaid} more lines like these`)
    }
    if (++this.#lines > LOG_LINES_PER_SECOND) return
    this.#write(`${what}: ${reason instanceof Error ? reason.message : String(reason)}`)
  }

  // Not console: its lines wait for a turn of this thread's event loop, and there is none.
  #write(line: string): void {
    try {
      writeSync(2, `${line}\n`)
    } catch {
      // Nobody reads it, or there is no room: no reason to end.
    }
  }
}
