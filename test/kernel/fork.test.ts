import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { MADV_DOFORK, MADV_DONTFORK, MADV_DONTNEED } from '../../src/abi/mman.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { framesOf } from '../../src/hypervisor/frame-runs.ts'
import type { Process } from '../../src/kernel/process.ts'
import { type Actor, Rig } from './machine-rig.ts'

const { EAGAIN, EFAULT, EINVAL, EMFILE, ENOMEM, ESRCH } = ERRNO
const FREE = 0x5000_0000

let rig: Rig
let parent: Actor
beforeEach(() => {
  rig = new Rig()
  parent = rig.actor()
})
afterEach(() => rig.finish())

/** A page that the parent has granted to itself and mapped. */
function share(pages = 1) {
  const fd = parent.open('gntalloc')
  const { index, refs } = parent.alloc(fd, pages)
  return { fd, index, refs, address: parent.mmap(fd, index, { count: pages }) }
}

function fork(): Process {
  const child = parent.process.fork(900)
  if (typeof child === 'number') throw new Error(`fork answered ${child}`)
  return child
}

describe('a forked child', () => {
  test('has the same files under the same numbers, and its own table of them', () => {
    const [low, middle, high] = [
      parent.open('evtchn'),
      parent.open('gntdev'),
      parent.open('evtchn'),
    ]
    parent.process.close(middle)
    const child = fork()
    for (const fd of [low, high]) expect(child.file(fd)).toBe(parent.process.file(fd))
    expect(child.open('gntalloc', { access: 'readwrite', nonblock: true })).toBe(middle)
    expect(parent.process.file(middle)).toBeUndefined()
    expect(parent.open('gntalloc')).toBe(middle)
    child.close(low)
    expect(parent.process.poll(low).out).toBe(true)
    parent.process.domain.limits.maxFiles = 3
    expect(child.dup(high)).toBe(low)
    expect(child.dup(high)).toBe(-EMFILE)
  })

  test('keeps pages, and releases them in the end, whoever of the two that is', () => {
    for (const [first, last] of [
      [(child: Process) => child.kill(), (_: Process) => parent.process.kill()],
      [(_: Process) => parent.process.kill(), (child: Process) => child.kill()],
    ] as const) {
      parent = rig.actor()
      const { grefs, usage } = parent.process.domain
      share()
      const child = fork()
      expect(usage.mappings).toBe(2)
      first(child)
      expect([grefs.pagesInUse, usage.mappings]).toEqual([1, 1])
      last(child)
      expect([grefs.pagesInUse, usage.mappings]).toEqual([0, 0])
      expect(child.fork(901)).toBe(-ESRCH)
    }
  })

  test('has what its parent protected and emptied, and both go their own way', () => {
    const { address } = share(3)
    const { process } = parent
    expect(process.protect(address, PAGE_SIZE, 1)).toBe(0)
    expect(process.madvise(address + PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED)).toBe(0)
    const child = fork()
    const faults = (of: Process) =>
      [0, 1, 2].map(page => of.vma(address + page * PAGE_SIZE)?.fault(address, 'store'))
    expect(child.vma(address)?.fault(address, 'store')).toBe('SIGSEGV')
    expect(faults(child)).toEqual(faults(process))
    expect(child.protect(address, PAGE_SIZE, 3)).toBe(0)
    expect(process.vma(address)?.fault(address, 'store')).toBe('SIGSEGV')
  })

  test('is refused where the domain has no room for its mappings', () => {
    share()
    parent.process.domain.limits.maxMappings = 1
    expect(parent.process.fork(900)).toBe(-ENOMEM)
    expect(parent.process.explain()).toMatchObject({ knob: 'maxMappings', used: 1, wanted: 1 })
  })
})

describe('mremap', () => {
  test('moves, shrinks and never lengthens the pages of a driver', () => {
    const { process } = parent
    const { address } = share(3)
    const frames = framesOf(process.vma(address)?.frames ?? [])
    expect(process.mremap(address, 3 * PAGE_SIZE, 4 * PAGE_SIZE)).toBe(-EFAULT)
    expect(process.mremap(address, 3 * PAGE_SIZE, 4 * PAGE_SIZE, FREE)).toBe(-EFAULT)
    expect(process.mremap(address + PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, FREE)).toBe(FREE)
    expect(framesOf(process.vma(FREE)?.frames ?? [])).toEqual([frames[1]])
    expect(process.vma(address + PAGE_SIZE)).toBeUndefined()
    expect(process.mremap(address, 3 * PAGE_SIZE, 3 * PAGE_SIZE)).toBe(-EFAULT)
    expect(process.mremap(address, PAGE_SIZE, PAGE_SIZE, FREE)).toBe(FREE)
    expect(framesOf(process.vma(FREE)?.frames ?? [])).toEqual([frames[0]])
  })

  test('refuses what is not aligned, overlaps, is nothing, or is not there', () => {
    const { process } = parent
    const { address } = share(2)
    const length = 2 * PAGE_SIZE
    expect(process.mremap(address + 1, length, length)).toBe(-EINVAL)
    expect(process.mremap(address, length, length, FREE + 1)).toBe(-EINVAL)
    expect(process.mremap(address, length, length, address + PAGE_SIZE)).toBe(-EINVAL)
    expect(process.mremap(address, length, 0)).toBe(-EINVAL)
    expect(process.mremap(FREE, length, length)).toBe(-EFAULT)
    process.domain.limits.maxMappings = 1
    expect(process.mremap(address, PAGE_SIZE, PAGE_SIZE, FREE)).toBe(-ENOMEM)
    expect(process.madvise(address, PAGE_SIZE, MADV_DONTFORK)).toBe(-EAGAIN)
  })

  test('lengthens plain memory where it may move it', () => {
    const { process } = parent
    expect(process.mapAnonymous(FREE, PAGE_SIZE)).toBe(0)
    const to = FREE + 16 * PAGE_SIZE
    expect(process.mremap(FREE, PAGE_SIZE, 2 * PAGE_SIZE)).toBe(-ENOMEM)
    expect(process.mremap(FREE, PAGE_SIZE, 2 * PAGE_SIZE, to)).toBe(to)
    expect(process.vma(to)?.length).toBe(2 * PAGE_SIZE)
    expect(process.vma(FREE)).toBeUndefined()
  })
})

test('madvise goes on behind a hole and tells of it, and knows no other advice', () => {
  const { process } = parent
  const { address } = share(3)
  process.munmap(address + PAGE_SIZE, PAGE_SIZE)
  expect(process.madvise(address, 3 * PAGE_SIZE, MADV_DONTFORK)).toBe(-ENOMEM)
  const isInherited = () => [0, 2].map(page => process.vma(address + page * PAGE_SIZE)?.isInherited)
  expect(isInherited()).toEqual([false, false])
  expect(fork().vma(address)).toBeUndefined()
  expect(process.madvise(address, PAGE_SIZE, MADV_DOFORK)).toBe(0)
  expect(isInherited()).toEqual([true, false])
  expect(process.madvise(address, PAGE_SIZE, 3)).toBe(-EINVAL)
  expect(process.madvise(address + 1, PAGE_SIZE, MADV_DOFORK)).toBe(-EINVAL)
})

test('the entries that Xen makes are never given to a child (306)', () => {
  const { refs } = share()
  const { address } = parent.mapped(parent.open('gntdev'), 1, refs[0]!)
  expect(parent.process.madvise(address, PAGE_SIZE, MADV_DOFORK)).toBe(-EINVAL)
  expect(fork().vma(address)).toBeUndefined()
})
