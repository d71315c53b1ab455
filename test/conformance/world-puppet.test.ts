import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import {
  MADV_DOFORK,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/abi/mman.ts'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { compileCPuppet, startCPuppet } from '../../src/conformance/c-puppet.ts'
import type { Puppet } from '../../src/conformance/puppet.ts'
import { Region } from '../../src/conformance/region.ts'
import {
  copyByPipe,
  futexWait,
  lseek,
  madvise,
  mlock,
  move,
  msync,
  processVmRead,
  resize,
} from '../../src/conformance/system-calls.ts'
import { WorldPuppet } from '../../src/conformance/world-puppet.ts'
import { createWorld } from '../../src/sim/index.ts'

const { EAGAIN, EBADF, EFAULT, EINVAL, ENOMEM, ETIMEDOUT } = ERRNO
const PAGES = 3
const MOVE = MREMAP_MAYMOVE | MREMAP_FIXED

/** What is done with three pages of plain memory, holding 1, 2 and 3 at their starts. */
interface Row {
  readonly what: string
  readonly does: (region: Region, other: Region) => Promise<unknown>
  /** What any Linux answers. */
  readonly answers: unknown
}

function starts(region: Region): Promise<unknown[]> {
  return Promise.all(Array.from({ length: PAGES }, (_, page) => region.load(page * PAGE_SIZE)))
}

function remap(region: Region, at: number, from: number, to: number, ...more: number[]) {
  return region.puppet.syscall('mremap', region.address + at, from, to, ...more)
}

const ROWS: readonly Row[] = [
  {
    what: 'an access without its right ends in SIGSEGV',
    does: async region => {
      await region.part(0, 1).protect(PROT_NONE)
      await region.part(1, 1).protect(PROT_READ)
      await region.part(2, 1).protect(PROT_WRITE)
      const stored = [0, 1, 2].map(page => region.tryStore(page * PAGE_SIZE, 9))
      return [await Promise.all(stored), await starts(region)]
    },
    answers: [
      ['SIGSEGV', 'SIGSEGV', 'stored'],
      ['SIGSEGV', 2, 9],
    ],
  },
  {
    what: 'a hole has no bytes, and what reaches into it ends there',
    does: async region => {
      await region.part(1, 1).munmap()
      const across = await region.puppet.call({
        op: 'peek',
        address: region.address + PAGE_SIZE - 4,
        length: 8,
      })
      return [await starts(region), across]
    },
    answers: [[1, 'SIGSEGV', 3], { result: -EFAULT, signal: 'SIGSEGV' }],
  },
  {
    what: 'mremap moves a page, whatever is there',
    does: async (region, other) => {
      const moved = await move(region.part(1, 1), other.part(2, 1))
      return [await starts(region), await moved.byte(0), await other.byte(0)]
    },
    answers: [[1, 'SIGSEGV', 3], 2, 0],
  },
  {
    what: 'mremap shortens in place',
    does: async region => [
      (await resize(region, 1)) === region.address,
      await starts(region),
      await region.puppet.munmap(region.address, PAGE_SIZE),
    ],
    answers: [true, [1, 'SIGSEGV', 'SIGSEGV'], 0],
  },
  {
    what: 'mremap lengthens with the bytes that were there, and zeroes',
    does: async region => {
      const longer = region.at(await resize(region, PAGES + 1), PAGES + 1)
      return [await starts(longer), await longer.byte(PAGES * PAGE_SIZE)]
    },
    answers: [[1, 2, 3], 0],
  },
  {
    what: 'mremap refuses what makes no sense, and leaves everything as it was',
    does: async region => [
      await remap(region, 1, PAGE_SIZE, PAGE_SIZE, 0),
      await remap(region, 0, PAGE_SIZE, 0, 0),
      await remap(region, 0, PAGE_SIZE, PAGE_SIZE, MREMAP_FIXED, region.address),
      await remap(region, 0, 2 * PAGE_SIZE, 2 * PAGE_SIZE, MOVE, region.address + PAGE_SIZE),
      await remap(region, 0, PAGE_SIZE, PAGE_SIZE, MOVE, region.address + 1),
      await remap(region, 0, 2 * PAGES * PAGE_SIZE, 3 * PAGES * PAGE_SIZE, MREMAP_MAYMOVE),
      await region.puppet.syscall('mremap', PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, 0),
      await starts(region),
    ],
    answers: [-EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EFAULT, -EFAULT, [1, 2, 3]],
  },
  {
    what: 'MADV_DONTNEED empties pages, and goes on behind a hole',
    does: async region => {
      await region.part(1, 1).munmap()
      const advised = await madvise(region, MADV_DONTNEED)
      return [advised, await starts(region), await madvise(region.part(0, 1), 12345)]
    },
    answers: [-ENOMEM, [0, 'SIGSEGV', 0], -EINVAL],
  },
  {
    what: 'a forked child has a copy of what it is to have',
    does: async region => {
      const { puppet } = region
      await madvise(region.part(1, 1), MADV_DONTFORK)
      const first = region.in(await puppet.fork())
      await region.store(0, 7)
      await first.store(2 * PAGE_SIZE, 8)
      const seen = [await starts(first), await starts(region)]
      await madvise(region.part(1, 1), MADV_DOFORK)
      return [...seen, await starts(region.in(await puppet.fork()))]
    },
    answers: [
      [1, 'SIGSEGV', 8],
      [7, 2, 3],
      [7, 2, 3],
    ],
  },
  {
    what: 'a futex of plain memory waits, unless its word is another',
    does: async (region, other) => [
      await futexWait(other, 'shared'),
      await futexWait(other, 'private'),
      await futexWait(region, 'private'),
    ],
    answers: [-ETIMEDOUT, -ETIMEDOUT, -EAGAIN],
  },
  {
    what: 'plain memory can be written back and locked, and a hole cannot',
    does: async region => {
      const plain = [await msync(region), await mlock(region)]
      await region.munmap()
      return [...plain, await msync(region), await mlock(region)]
    },
    answers: [0, 0, -ENOMEM, -ENOMEM],
  },
  {
    what: 'the kernel reads and writes plain memory for a process, as far as that may itself',
    does: async (region, other) => {
      await copyByPipe(region, other, 2)
      const read = [...(await processVmRead(region, 2)), await other.byte(0)]
      await region.protect(PROT_NONE)
      await expect(processVmRead(region, 2)).rejects.toThrow('EFAULT')
      return read
    },
    answers: [1, 0, 1],
  },
  {
    what: 'what is no descriptor is EBADF',
    does: async ({ puppet }) => [
      await lseek({ puppet, fd: 777 } as Parameters<typeof lseek>[0], 0),
      await puppet.syscall('epoll_pwait', 777, 0, 1, 0, 0, 0),
    ],
    answers: [-EBADF, -EBADF],
  },
]

/** Three pages with something in them, and as many without. */
async function regionsOf(puppet: Puppet): Promise<[Region, Region]> {
  const regions: Region[] = []
  for (let i = 0; i < 2; i++) {
    regions.push(new Region(puppet, await puppet.alloc(PAGES * PAGE_SIZE), PAGES))
  }
  const [region, other] = regions as [Region, Region]
  for (let page = 0; page < PAGES; page++) await region.store(page * PAGE_SIZE, page + 1)
  return [region, other]
}

describe('a puppet of a world does with plain memory what Linux does', () => {
  test.each(ROWS)('$what', async ({ does, answers }) => {
    using world = createWorld()
    const puppet = new WorldPuppet(world.domain(1).process(), {
      wrap: process => process,
      forked: () => {},
    })
    expect(await does(...(await regionsOf(puppet)))).toEqual(answers)
  })
})

const hasCompiler = spawnSync('gcc', ['--version']).status === 0

describe.skipIf(!hasCompiler)('and Linux does', () => {
  const folder = mkdtempSync(join(tmpdir(), 'interdom-test-'))
  let program = ''
  beforeAll(async () => {
    program = await compileCPuppet(folder)
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  test.each(ROWS)('$what', async ({ does, answers }) => {
    const puppet = await startCPuppet(program, 7)
    onTestFinished(() => puppet.discard())
    expect(await does(...(await regionsOf(puppet)))).toEqual(answers)
  })
})
