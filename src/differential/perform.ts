import type { DeviceName } from '../abi/devices.ts'
import { MAP_PRIVATE, MAP_SHARED, PROT_NONE } from '../abi/mman.ts'
import { PAGE_SIZE } from '../abi/page.ts'
import { NOWHERE } from '../conformance/nonsense.ts'
import { mmapRefusal } from '../kernel/mmap-refusal.ts'
import type { Result } from '../platform.ts'
import { exclusionOf } from './exclusions.ts'
import { SETTLE_MS } from './limits.ts'
import { performOnEvtchn } from './perform-evtchn.ts'
import { performOnGrants } from './perform-grants.ts'
import { type Actor, type DescriptorBook, type FileBook, type Play, resultText } from './play.ts'
import { type Step, type StepOf, sideOf } from './sequence.ts'

/** What a step that names a descriptor shows when that is not open. */
const NO_DESCRIPTOR = 'no descriptor'
/** And one that names a process of a domain that was destroyed. */
const NO_DOMAIN = 'no domain'

/**
 * Plays one step and answers what was seen, in words that are equal wherever the same happened.
 * `expected` is what the model saw: a fault is not provoked where it would end the process, and an
 * event that must come is waited for.
 */
export async function perform(play: Play, step: Step, expected?: string): Promise<string> {
  if ('process' in step && play.isGone(step.process)) return NO_DOMAIN
  const exclusion = exclusionOf(play, step)
  if (exclusion) return `excluded: ${exclusion}`
  if ('fd' in step) {
    const book = play.open(step.fd)
    if (!book) return NO_DESCRIPTOR
    return performOnDescriptor(play, step, book, expected)
  }
  switch (step.do) {
    case 'open':
      return open(play, step)
    case 'munmap':
    case 'replace':
      return remap(play, step)
    case 'protect':
      return protect(play, step)
    case 'peek':
    case 'poke':
      return access(play, step, expected)
    case 'limit':
      await play.setLimit(step.name, step.pages)
      return 'set'
    case 'kill':
      await play.kill(step.process)
      return 'killed'
    case 'destroy':
      await play.destroyOther()
      return 'destroyed'
    case 'settle':
      await play.stage.settle(SETTLE_MS)
      return 'settled'
  }
}

type Run = { readonly page: number; readonly pages: number }

type DescriptorStep = Extract<Step, { fd: number }>

async function performOnDescriptor(
  play: Play,
  step: DescriptorStep,
  book: DescriptorBook,
  expected: string | undefined,
): Promise<string> {
  const { puppet } = await play.actor(book.process)
  switch (step.do) {
    case 'dup':
      return adopt(play, step.id, book, await puppet.dup(book.fd))
    case 'close':
      book.isOpen = false
      await puppet.close(book.fd)
      return 'closed'
    case 'poll': {
      if (expected?.includes('in')) await puppet.ready(book.fd, play.stage.watchdogMs)
      const { in: readable, out, err } = await puppet.poll(book.fd)
      return `${readable ? 'in ' : ''}${out ? 'out ' : ''}${err ? 'err' : ''}`.trim()
    }
    case 'ioctl':
      return resultText(await puppet.ioctlAt(book.fd, step.number, NOWHERE))
    case 'mmap':
      return mmap(play, step, book)
    default:
      break
  }
  const { device } = book.file
  if (device === 'evtchn') return performOnEvtchn(play, step, book, expected)
  return performOnGrants(play, step, book)
}

async function open(play: Play, step: StepOf<'open'>): Promise<string> {
  const { process, device, access } = step
  const { puppet } = await play.actor(process)
  const fd = await puppet.open(device, { access, nonblock: true })
  const file: FileBook = {
    device,
    side: sideOf(process),
    access,
    allocations: [],
    hasHiddenPages: false,
    armedPages: new Set(),
    ports: new Set(),
  }
  return adopt(play, step.id, { process, fd, file, isOpen: true }, fd)
}

function adopt(play: Play, id: number, { process, file }: DescriptorBook, fd: Result): string {
  if (fd < 0) return resultText(fd)
  play.descriptors.set(id, { process, fd, file, isOpen: true })
  return play.fdName(process, fd)
}

async function mmap(play: Play, step: StepOf<'mmap'>, book: DescriptorBook): Promise<string> {
  const actor = await play.actor(book.process)
  const request = {
    offset: play.place(step.at),
    length: step.pages * PAGE_SIZE,
    prot: step.prot,
    flags: step.shared ? MAP_SHARED : MAP_PRIVATE,
  }
  const at = addressOf(actor, step.page)
  const result = await actor.puppet.mmap(book.fd, { ...request, at })
  const { device, access } = book.file
  if (result < 0) {
    const file = { canRead: access !== 'write', canWrite: access !== 'read', isMappable: true }
    // The kernel makes room before it asks the driver.
    if (mmapRefusal({ ...request, address: at }, file) === 0) noteHole(actor, step)
    return resultText(result)
  }
  note(actor, step, device)
  if (device === 'gntdev' && step.prot === PROT_NONE) {
    for (let i = 0; i < step.pages; i++) actor.unprotected.add(step.page + i)
  }
  return 'mapped'
}

async function remap(play: Play, step: StepOf<'munmap' | 'replace'>): Promise<string> {
  const actor = await play.actor(step.process)
  const address = addressOf(actor, step.page)
  const length = step.pages * PAGE_SIZE
  if (step.do === 'munmap') {
    const result = await actor.puppet.munmap(address, length)
    noteHole(actor, step)
    return resultText(result)
  }
  const result = await actor.puppet.alloc(length, address)
  if (result < 0) return resultText(result)
  note(actor, step, undefined)
  return 'mapped'
}

async function protect(play: Play, step: StepOf<'protect'>): Promise<string> {
  const actor = await play.actor(step.process)
  const address = addressOf(actor, step.page)
  const result = await actor.puppet.protect(address, step.pages * PAGE_SIZE, step.prot)
  if (step.prot !== PROT_NONE) {
    for (let i = 0; i < step.pages; i++) actor.unprotected.delete(step.page + i)
  }
  return resultText(result)
}

async function access(
  play: Play,
  step: StepOf<'peek' | 'poke'>,
  expected: string | undefined,
): Promise<string> {
  const { process, spot } = step
  const { puppet, arena } = await play.actor(process)
  // A fault would end the process, so the model is believed.
  if (!play.stage.survivesFaults && expected?.startsWith('SIG')) return expected
  const address = arena + spot.page * PAGE_SIZE + spot.byte
  if (step.do === 'poke') return puppet.store(address, step.value)
  const { bytes, signal } = await puppet.call({ op: 'peek', address, length: step.length })
  return signal ?? Buffer.from(bytes ?? []).toString('hex')
}

function addressOf({ arena }: Actor, page: number): number {
  return arena + page * PAGE_SIZE
}

/** What lies in a run of pages now. */
function note(actor: Actor, pages: Run, device: DeviceName | undefined): void {
  for (let i = 0; i < pages.pages; i++) actor.devices[pages.page + i] = device
  forget(actor, pages)
}

function noteHole(actor: Actor, pages: Run): void {
  note(actor, pages, undefined)
  for (let i = 0; i < pages.pages; i++) actor.holes.add(pages.page + i)
}

function forget({ unprotected, holes }: Actor, { page, pages }: Run): void {
  for (let i = page; i < page + pages; i++) {
    unprotected.delete(i)
    holes.delete(i)
  }
}
