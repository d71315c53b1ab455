import { errnoText } from '../abi/errno.ts'
import {
  decodeAllocGrefReply,
  encodeAllocGref,
  encodeDeallocGref,
  encodeUnmapNotify,
  GNTALLOC_ALLOC_GREF,
  GNTALLOC_DEALLOC_GREF,
  GNTALLOC_FLAG_WRITABLE,
  GNTALLOC_SET_UNMAP_NOTIFY,
  UNMAP_NOTIFY_CLEAR_BYTE,
} from '../abi/gntalloc.ts'
import {
  decodeMapGrantRefIndex,
  encodeMapGrantRef,
  encodeUnmapGrantRef,
  GNTDEV_MAP_GRANT_REF,
  GNTDEV_SET_UNMAP_NOTIFY,
  GNTDEV_UNMAP_GRANT_REF,
} from '../abi/gntdev.ts'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import type { Random } from '../base/random.ts'
import { openDevice } from '../device-call.ts'
import type { Address, Device, Platform } from '../platform.ts'
import {
  freeNotify,
  idText,
  NOTIFIES_OFFSET,
  notifiesText,
  pageText,
  prependWord,
  writeId,
} from './shell-page.ts'

/** Pages that are held at a time; slots are reused from the lowest. */
const PAGES_MAX = 128

export const SHELL_COMMANDS: readonly { readonly usage: string; readonly does: string }[] = [
  { usage: 'add DOMID', does: 'share a page with a domain' },
  { usage: 'map DOMID REF', does: 'map a page that a domain granted' },
  { usage: 'adel INDEX', does: 'stop offering a page added at INDEX' },
  { usage: 'ddel INDEX', does: 'unhook a page mapped at INDEX' },
  { usage: 'unmap ADDRESS', does: 'unmap the page at ADDRESS' },
  { usage: 'show', does: 'show all pages' },
  { usage: '<word>', does: 'put the word in front of the text of all pages, show' },
]

interface Item {
  readonly address: Address
  readonly index: number
  readonly device: 'gntalloc' | 'gntdev'
  /** Only of pages that we added. */
  readonly ref?: number
}

/**
 * The commands of the test program of 2011, over the raw devices of a platform: a line in, its
 * lines out. Text is a character for each byte (latin1), as it lies in the page.
 */
export class ShellInterpreter {
  readonly #platform: Platform
  readonly #gntalloc: Device
  readonly #gntdev: Device
  readonly #pid: number
  readonly #random: Random
  readonly #items: (Item | undefined)[] = []

  constructor(platform: Platform, { pid, random }: { pid: number; random: Random }) {
    this.#platform = platform
    this.#pid = pid
    this.#random = random
    const options = { access: 'readwrite', nonblock: false } as const
    this.#gntalloc = openDevice(platform, 'gntalloc', options)
    this.#gntdev = openDevice(platform, 'gntdev', options)
  }

  /** What it says first: the commands, and the process id in hexadecimal. */
  greeting(): string {
    const width = Math.max(...SHELL_COMMANDS.map(({ usage }) => usage.length)) + 2
    const lines = SHELL_COMMANDS.map(({ usage, does }) => `${usage.padEnd(width)}${does}\n`)
    return `${lines.join('')} PID ${this.#pid.toString(16)}\n`
  }

  /** Runs one command; answers its lines, each with its end. */
  execute(line: string): string {
    const [word, ...rest] = line.split(/[ \t\r\n\v\f]+/).filter(Boolean)
    switch (word) {
      case undefined:
        return ''
      case 'add':
        return this.#withNumbers('add DOMID', rest, domid => this.#add(domid))
      case 'map':
        return this.#withNumbers('map DOMID REF', rest, (domid, ref) => this.#map(domid, ref))
      case 'adel':
        return this.#withNumbers('adel INDEX', rest, index => this.#adel(index))
      case 'ddel':
        return this.#withNumbers('ddel INDEX', rest, index => this.#ddel(index))
      case 'unmap':
        return this.#withNumbers('unmap ADDRESS', rest, address => this.#unmap(address))
      case 'show':
        return this.#show()
      default:
        for (const item of this.#items) if (item) prependWord(this.#page(item), word)
        return this.#show()
    }
  }

  /** What could follow what was typed so far: commands, then live refs, indexes and addresses. */
  completions(typed: string): string[] {
    const words = typed.split(' ')
    const last = words.at(-1) ?? ''
    const candidates =
      words.length === 1
        ? [...SHELL_COMMANDS.map(({ usage }) => usage.split(' ')[0] ?? ''), 'help']
        : this.#argumentsOf(words[0], words.length - 1)
    return candidates.filter(candidate => candidate.startsWith(last) && candidate !== '<word>')
  }

  #argumentsOf(command: string | undefined, position: number): string[] {
    const items = this.#items.filter(item => item !== undefined)
    if (command === 'unmap') return items.map(({ address }) => String(address))
    if (command === 'map' && position === 1) return [String(this.#platform.domid)]
    if (command === 'map') return items.flatMap(({ ref }) => (ref === undefined ? [] : [`${ref}`]))
    const device = command === 'adel' ? 'gntalloc' : command === 'ddel' ? 'gntdev' : undefined
    return items.filter(item => item.device === device).map(({ index }) => String(index))
  }

  #withNumbers(usage: string, words: string[], run: (...numbers: number[]) => string): string {
    const wanted = usage.split(' ').length - 1
    const numbers = words.slice(0, wanted).map(numberOf)
    if (numbers.length < wanted || numbers.some(Number.isNaN)) return `usage: ${usage}\n`
    return run(...numbers)
  }

  #add(domid = 0): string {
    if (domid > 0xffff) return `usage: add DOMID, below 65536\n`
    if (this.#isFull()) return `All ${PAGES_MAX} pages are in use\n`
    const argument = encodeAllocGref({ domid, flags: GNTALLOC_FLAG_WRITABLE, count: 1 })
    const result = this.#gntalloc.ioctl(GNTALLOC_ALLOC_GREF, argument)
    if (result < 0) return `src-add error: ${errnoText(result)} (rv=-1)\n`
    const { index, refs } = decodeAllocGrefReply(argument, 1)
    const address = this.#mmap(this.#gntalloc, index)
    if (address < 0) {
      this.#gntalloc.ioctl(GNTALLOC_DEALLOC_GREF, encodeDeallocGref({ index, count: 1 }))
      return `src-add error: ${errnoText(address)} (map failed)\n`
    }
    const [ref = 0] = refs
    const page = this.#hold({ address, index, device: 'gntalloc', ref })
    const created = `Created shared page with domain ${domid}, grant #${ref}. `
    const where = `Mapped locally at ${index}=${pointer(address)}\n`
    writeId(page, this.#pid, this.#random())
    page[NOTIFIES_OFFSET] = 1
    const armed = this.#gntalloc.ioctl(GNTALLOC_SET_UNMAP_NOTIFY, clearByte(index, 0))
    const error = armed < 0 ? `gntalloc unmap notify error: ${errnoText(armed)} (rv=-1)\n` : ''
    return created + where + error
  }

  #map(domid = 0, ref = 0): string {
    if (domid > 0xffffffff || ref > 0xffffffff) return 'usage: map DOMID REF, below 2^32\n'
    if (this.#isFull()) return `All ${PAGES_MAX} pages are in use\n`
    const failed = `Could not map grant ${domid}.${ref}: `
    const argument = encodeMapGrantRef([{ domid, ref }])
    const result = this.#gntdev.ioctl(GNTDEV_MAP_GRANT_REF, argument)
    if (result < 0) return `${failed}${errnoText(result)} (rv=-1)\n`
    const index = decodeMapGrantRefIndex(argument)
    const address = this.#mmap(this.#gntdev, index)
    if (address < 0) return `${failed}${errnoText(address)} (map failed)\n`
    const page = this.#hold({ address, index, device: 'gntdev' })
    const mapped = `Mapped grant ${domid}.${ref} as ${index}=${pointer(address)}\n`
    return mapped + this.#announce(page, index)
  }

  /** Takes a byte of the page for this user and lets the kernel clear it when the user is gone. */
  #announce(page: Uint8Array, index: number): string {
    const slot = freeNotify(page)
    // The original ran on past the eight bytes here.
    if (slot === undefined) return 'gntdev unmap notify error: No space left on device (rv=-1)\n'
    page[NOTIFIES_OFFSET + slot] = 1
    const armed = this.#gntdev.ioctl(GNTDEV_SET_UNMAP_NOTIFY, clearByte(index, slot))
    return armed < 0 ? `gntdev unmap notify error: ${errnoText(armed)} (rv=-1)\n` : ''
  }

  #adel(index = 0): string {
    const argument = encodeDeallocGref({ index, count: 1 })
    const result = this.#gntalloc.ioctl(GNTALLOC_DEALLOC_GREF, argument)
    if (result < 0) return `src-del error: ${errnoText(result)} (rv=-1)\n`
    return `Stopped offering grant at offset ${index}\n`
  }

  #ddel(index = 0): string {
    const argument = encodeUnmapGrantRef({ index, count: 1 })
    const result = this.#gntdev.ioctl(GNTDEV_UNMAP_GRANT_REF, argument)
    if (result < 0) return `gu error: ${errnoText(result)} (rv=-1)\n`
    return `Unhooked mapped grant at offset ${index}\n`
  }

  #unmap(address = 0): string {
    const slot = this.#items.findIndex(item => item?.address === address)
    // The original unmapped whatever was there, its own code if one liked.
    if (slot < 0) return `No page is mapped at ${pointer(address)}\n`
    const result = this.#platform.memory.munmap(address, PAGE_SIZE)
    if (result < 0) return `Could not unmap ${pointer(address)}: ${errnoText(result)}\n`
    this.#items[slot] = undefined
    return `Unmapped page at ${pointer(address)}\n`
  }

  #show(): string {
    const lines = this.#items.map((item, slot) => {
      if (!item) return ''
      const page = this.#page(item)
      const where = `${String(slot).padStart(2, '0')}(${item.address},${item.index})`
      return `${where}: id ${idText(page)} n=${notifiesText(page)} b=${pageText(page)}\n`
    })
    return lines.join('')
  }

  #mmap(device: Device, offset: number): number {
    const prot = PROT_READ | PROT_WRITE
    return device.mmap({ offset, length: PAGE_SIZE, prot, flags: MAP_SHARED })
  }

  #isFull(): boolean {
    return this.#items.filter(Boolean).length === PAGES_MAX
  }

  #hold(item: Item): Uint8Array {
    const free = this.#items.indexOf(undefined)
    this.#items[free < 0 ? this.#items.length : free] = item
    return this.#page(item)
  }

  #page({ address }: Item): Uint8Array {
    return this.#platform.memory.view(address, PAGE_SIZE)
  }
}

function clearByte(index: number, slot: number): Uint8Array {
  const action = UNMAP_NOTIFY_CLEAR_BYTE
  return encodeUnmapNotify({ index: index + NOTIFIES_OFFSET + slot, action, port: 0 })
}

/** printf's %p. */
function pointer(address: Address): string {
  return `0x${address.toString(16)}`
}

function numberOf(text: string): number {
  if (!/^(\d+|0[xX][0-9a-fA-F]+)$/.test(text)) return Number.NaN
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : Number.NaN
}
