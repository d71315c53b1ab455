import { argumentSize, type DeviceName, fixedArgumentSize } from '../abi/devices.ts'
import {
  COPY_SEGMENT_SIZE,
  decodeCopySegment,
  decodeGrantCopy,
  GNTDEV_GRANT_COPY,
  GRANT_COPY_SIZE,
} from '../abi/gntdev.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { MADV_POPULATE_WRITE, madvise, readMemory } from '../native/mappings.ts'
import { BODY_MAX } from './limits.ts'
import type { MemoryRange } from './snapshot.ts'

interface Interval {
  start: number
  end: number
}

/**
 * Collects the memory that a driver will look at during a call: what it would fault on is simply
 * not there. The host never reads a client's memory by itself.
 */
export function gather(device: DeviceName, number: number, argument: number): MemoryRange[] {
  const fixed = fixedArgumentSize(device, number)
  if (fixed === 0) return []
  const head = readable(argument, fixed)
  const size = head.byteLength < fixed ? fixed : argumentSize(device, number, head)
  const intervals = [{ start: argument, end: argument + Math.min(size, BODY_MAX) }]
  if (isCopy(device, number) && head.byteLength >= GRANT_COPY_SIZE) {
    intervals.push(...copyIntervals(head))
  }
  return merged(intervals).flatMap(pieces)
}

/** The same for a GRANT_COPY whose header is at hand: its segments and their local sides. */
export function gatherCopy(header: Uint8Array): MemoryRange[] {
  return merged(copyIntervals(header)).flatMap(pieces)
}

export function isCopy(device: DeviceName, number: number): boolean {
  return device === 'gntdev' && number === GNTDEV_GRANT_COPY
}

function copyIntervals(header: Uint8Array): Interval[] {
  const intervals: Interval[] = []
  const { count, segments } = decodeGrantCopy(header)
  const length = Math.min(count * COPY_SEGMENT_SIZE, BODY_MAX)
  const bytes = readable(segments, length)
  intervals.push({ start: segments, end: segments + length })
  let total = 0
  for (let at = 0; at + COPY_SEGMENT_SIZE <= bytes.byteLength; at += COPY_SEGMENT_SIZE) {
    const { source, dest, len } = decodeCopySegment(bytes.subarray(at, at + COPY_SEGMENT_SIZE))
    for (const side of [source, dest]) {
      if (!('address' in side) || total + len > BODY_MAX) continue
      intervals.push({ start: side.address, end: side.address + len })
      total += len
    }
  }
  return intervals
}

/** The longest readable prefix of a run, copied. */
function readable(address: number, length: number): Uint8Array {
  const into = new Uint8Array(length)
  let done = 0
  while (done < length) {
    const count = Math.min(length - done, PAGE_SIZE - ((address + done) % PAGE_SIZE))
    if (readMemory(address + done, into.subarray(done, done + count)) !== count) break
    done += count
  }
  return into.subarray(0, done)
}

function merged(intervals: Interval[]): Interval[] {
  const sorted = intervals.filter(i => i.end > i.start).sort((a, b) => a.start - b.start)
  const result: Interval[] = []
  for (const next of sorted) {
    const last = result.at(-1)
    if (last && next.start <= last.end) last.end = Math.max(last.end, next.end)
    else result.push({ ...next })
  }
  return result
}

/** One range for each run of pages that can be read and have the same right. */
function pieces({ start, end }: Interval): MemoryRange[] {
  const ranges: { address: number; parts: Uint8Array[]; writable: boolean; end: number }[] = []
  for (let at = start; at < end; ) {
    const stop = Math.min(end, at - (at % PAGE_SIZE) + PAGE_SIZE)
    const bytes = readable(at, stop - at)
    if (bytes.byteLength === stop - at) {
      const writable = isWritable(at)
      const last = ranges.at(-1)
      if (last && last.end === at && last.writable === writable) {
        last.parts.push(bytes)
        last.end = stop
      } else ranges.push({ address: at, parts: [bytes], writable, end: stop })
    }
    at = stop
  }
  return ranges.map(({ address, parts, writable }) => ({
    address,
    writable,
    bytes: parts.length === 1 ? (parts[0] as Uint8Array) : new Uint8Array(Buffer.concat(parts)),
  }))
}

/**
 * Whether a store to this page would succeed, without one: a peer may be writing there. Linux 5.14
 * and later answer this; on an older kernel every readable page counts as writable, and the store
 * of the driver's answer faults instead.
 */
function isWritable(address: number): boolean {
  const page = address - (address % PAGE_SIZE)
  const result = madvise(page, PAGE_SIZE, MADV_POPULATE_WRITE)
  return result === 0 || !supportsPopulate()
}

let populates: boolean | undefined

function supportsPopulate(): boolean {
  if (populates !== undefined) return populates
  populates = madvise(0, 0, MADV_POPULATE_WRITE) === 0
  return populates
}
