/**
 * A sequence of seam calls that can be played anywhere: no step knows the result of another. What
 * a step needs of an earlier one it names by that step's number, so that a sequence stays what it
 * is when steps are taken out of it. A name of a step that failed, or is gone, stands for something
 * that does not exist: an index where nothing is, a ref beyond any table.
 *
 * Memory is named by its place: each process has an arena of pages, the same everywhere, and all
 * mappings are made in it (MAP_FIXED). So the order of addresses, which decides the order of events
 * at death, is the same on every platform.
 */
import type { DeviceName } from '../abi/devices.ts'
import type { Access, LimitName } from '../platform.ts'

/** The number of a step: it keeps it while others are taken out. */
export type StepId = number

/**
 * Whom a step names, seen from its process: its own domain, by its id or as DOMID_SELF; the other
 * one; one that is not there.
 */
export type DomidWord = 'self' | 'DOMID_SELF' | 'other' | 'none' | 'wide' | number

/** The two domains of a sequence; most sequences have only the first. */
export type Side = 0 | 1

/** Processes from this number on are the other domain's. */
export const OTHER_PROCESSES = 4

export function sideOf(process: number): Side {
  return process < OTHER_PROCESSES ? 0 : 1
}

/**
 * Memory for an argument that the driver cannot use as it wants: it can be read only, or ends
 * behind the fixed part of the argument.
 */
export type Hurdle = 'readonly' | 'cut'

/** A byte of a device file, counted from what step `of` was given; without it, where nothing is. */
export interface Place {
  readonly of?: StepId
  readonly page: number
  readonly byte: number
}

/** A ref of step `of`; without it, or where `domid` is not its domain, one beyond any table. */
export interface RefWord {
  readonly domid: DomidWord
  readonly of?: StepId
  readonly nth: number
}

/**
 * The port that step `of` bound, in the domain that it bound it in; else one that the kernel itself
 * has, or none has.
 */
export type PortWord = { readonly of: StepId } | 'kernel' | 'none'

/** A byte of a process's arena. */
export interface Spot {
  readonly page: number
  readonly byte: number
}

/** One side of a copy: the caller's memory, or a granted page. */
export type CopySide = Spot | (RefWord & { readonly offset: number })

export interface CopyPart {
  readonly source: CopySide
  readonly dest: CopySide
  readonly length: number
}

/** A descriptor is named by the step that opened it, and is of that step's process. */
type OnDescriptor = { readonly fd: StepId }
type InArena = { readonly process: number; readonly page: number; readonly pages: number }

type Action =
  | { do: 'open'; process: number; device: DeviceName; access: Access }
  | ({ do: 'dup' | 'close' | 'poll' | 'reset' } & OnDescriptor)
  /** An unknown number, or a known one with a pointer to nowhere. */
  | ({ do: 'ioctl'; number: number } & OnDescriptor)
  // gntalloc
  | ({ do: 'alloc'; to: DomidWord; flags: number; count: number; hurdle?: Hurdle } & OnDescriptor)
  | ({ do: 'dealloc'; at: Place; count: number } & OnDescriptor)
  // gntdev
  | ({ do: 'map'; grants: readonly RefWord[]; hurdle?: Hurdle } & OnDescriptor)
  | ({ do: 'unmap'; at: Place; count: number } & OnDescriptor)
  | ({ do: 'offset'; spot: Spot } & OnDescriptor)
  | ({ do: 'copy'; parts: readonly CopyPart[] } & OnDescriptor)
  // both
  | ({ do: 'arm'; at: Place; action: number; port: PortWord } & OnDescriptor)
  | ({
      do: 'mmap'
      at: Place
      page: number
      pages: number
      prot: number
      shared: boolean
    } & OnDescriptor)
  // memory
  | ({ do: 'munmap' | 'replace' } & InArena)
  | ({ do: 'protect'; prot: number } & InArena)
  | { do: 'peek'; process: number; spot: Spot; length: number }
  | { do: 'poke'; process: number; spot: Spot; value: number }
  // evtchn
  | ({ do: 'bindUnbound'; to: DomidWord } & OnDescriptor)
  | ({ do: 'bindInterdomain'; to: DomidWord; port: PortWord } & OnDescriptor)
  | ({ do: 'bindVirq'; virq: number } & OnDescriptor)
  | ({ do: 'bindStatic' | 'unbind' | 'notify'; port: PortWord } & OnDescriptor)
  /** Sends on `port`, and writes what came back to `far`, over and over: nobody reads. */
  | ({ do: 'flood'; port: PortWord; far: StepId; farPort: PortWord; times: number } & OnDescriptor)
  | ({ do: 'restrict'; to: DomidWord } & OnDescriptor)
  | ({ do: 'read'; length: number } & OnDescriptor)
  | ({ do: 'write'; ports: readonly PortWord[]; more: number } & OnDescriptor)
  // machine
  | { do: 'limit'; name: LimitName; pages: number }
  | { do: 'kill'; process: number }
  /** The other domain, as `xl destroy`. */
  | { do: 'destroy' }
  /** Lets the kernel's timer come. */
  | { do: 'settle' }

export type Step = { readonly id: StepId } & Readonly<Action>
export type StepKind = Step['do']
export type StepOf<K extends StepKind> = Extract<Step, { do: K }>

export type Sequence = readonly Step[]

/** `'7 mmap fd=3 at={of:5,page:0,byte:0} page=2 …'` */
export function describeStep({ id, do: kind, ...rest }: Step): string {
  const words = Object.entries(rest).map(([name, value]) => `${name}=${wordOf(value)}`)
  return [`${id}`.padStart(3), kind, ...words].join(' ')
}

function wordOf(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value).replaceAll('"', '') : String(value)
}
