import { type ConnectOpts, Socket, type SocketConstructorOpts } from 'node:net'
import { ERRNO } from '../abi/errno.ts'
import { XenError } from '../base/errors.ts'
import { exchange, load } from '../memory/atomics.ts'
import { close, dup, read } from '../native/files.ts'
import { noDescriptorLeft } from './descriptor-limit.ts'
import { LOOK_AT_ALL, SENT } from './inbox.ts'
import { INBOX_READS_MAX, LINK_SLOTS } from './limits.ts'
import { mapFile, type SharedFile } from './memfd.ts'

/** Where all inboxes of a thread are read into: one at a time, and taken in at once. */
const buffer = new Uint8Array(4096)

/** What an inbox tells of: that a port was sent to. It may be a lie. */
type Arrived = (port: number, inbox: InboxReader) => void

/** An inbox that we read: pipe, states, and which of our ports are connected. */
export class InboxReader {
  readonly id: number
  readonly pipe: number
  readonly states: SharedFile
  readonly connections: SharedFile
  /** The ports that have their word here, by its place; how many they are. */
  readonly #ports: (number | undefined)[] = []
  #used = 0
  readonly #arrived: Arrived
  #taken = 0
  /** Watches a descriptor of its own, which it closes when it likes. */
  #socket: Socket | undefined

  /** Takes over the descriptors. */
  constructor(id: number, fds: readonly number[], arrived: Arrived) {
    const [pipe, states, connections] = fds
    if (pipe === undefined || states === undefined || connections === undefined) {
      throw new XenError(-ERRNO.EPROTO, 'host bind')
    }
    this.id = id
    this.pipe = pipe
    this.states = mapped(states, true)
    this.connections = mapped(connections, false)
    this.#arrived = arrived
  }

  get isEmpty(): boolean {
    return this.#used === 0
  }

  bound(slot: number, port: number): void {
    this.#ports[slot] = port
    this.#used++
  }

  unbound(slot: number): void {
    this.#ports[slot] = undefined
    this.#used--
  }

  /**
   * Takes in what has arrived. By the count of what was sent it knows when there is nothing; a
   * sender that does not count is heard when the pipe is watched, or with `isCertain`.
   */
  drain(isCertain = false): void {
    if (!isCertain && load(this.states.words, SENT) === this.#taken) return
    for (let reads = 0; reads < INBOX_READS_MAX; reads++) {
      const length = read(this.pipe, buffer)
      if (length > 0) this.#take(length)
      if (length < buffer.byteLength) break
    }
    this.#lookAtAll()
  }

  /**
   * Takes in what arrives, from the event loop, until something arrives that is not wanted; then
   * it must be asked again. It does not keep the process alive.
   */
  watch(isWanted: () => boolean): void {
    if (this.#socket) {
      this.#socket.resume()
      return
    }
    const callback = (length: number): boolean => {
      const wasWanted = isWanted()
      this.#take(length)
      this.#lookAtAll()
      return wasWanted
    }
    const fd = dup(this.pipe)
    if (fd < 0) throw new XenError(fd, 'poll evtchn', noDescriptorLeft())
    // The types know `onread` of a socket that connects only; Node takes it here as well.
    const options: SocketConstructorOpts & ConnectOpts = {
      fd,
      writable: false,
      onread: { buffer, callback },
    }
    this.#socket = new Socket(options)
    this.#socket.on('error', () => undefined)
    this.#socket.unref()
  }

  close(): void {
    this.#socket?.destroy()
    close(this.pipe)
    this.states.close()
    this.connections.close()
  }

  #take(length: number): void {
    for (let at = 0; at + 4 <= length; at += 4) this.#arrived(wordAt(buffer, at), this)
    this.#taken = (this.#taken + (length >>> 2)) >>> 0
    // A sender that writes pieces of a port number confuses its own inbox only: look at all.
    if (length % 4 !== 0) exchange(this.states.words, LOOK_AT_ALL, 1)
  }

  /** As if each port had been named: a sender makes us look at those that it may send to. */
  #lookAtAll(): void {
    const { words } = this.states
    if (load(words, LOOK_AT_ALL) === 0) return
    exchange(words, LOOK_AT_ALL, 0)
    for (const port of this.#ports) if (port !== undefined) this.#arrived(port, this)
  }
}

/** The words that a receiver and its senders share, or that the host shows. */
export function mapped(fd: number, writable: boolean): SharedFile {
  const file = mapFile(fd, LINK_SLOTS * 4, writable)
  if (typeof file === 'number') throw new XenError(file, 'mmap event channel')
  return file
}

function wordAt(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) |
      ((bytes[at + 1] ?? 0) << 8) |
      ((bytes[at + 2] ?? 0) << 16) |
      ((bytes[at + 3] ?? 0) << 24)) >>>
    0
  )
}
