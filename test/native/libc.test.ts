import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../src/abi/mman.ts'
import * as libc from '../../src/native/libc.ts'
import { addressOf, viewMemory } from '../../src/native/view.ts'
import { closeAfterEach, disown, own, ownPair } from './fds.ts'

const { EAGAIN, EBADF, EFAULT, EINVAL, ENOENT, ENOMEM, ENOTTY, EPERM, EPIPE } = ERRNO
const READ_WRITE = PROT_READ | PROT_WRITE

closeAfterEach()

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'interdom-native-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const bytesOf = (words: string) => new TextEncoder().encode(words)

test('a refusal is the negative errno and is not thrown', () => {
  expect(libc.open('/nonexistent/file', libc.O_RDONLY)).toBe(-ENOENT)
  expect(libc.close(-1)).toBe(-EBADF)
  expect(libc.read(-1, new Uint8Array(1))).toBe(-EBADF)
  expect(libc.munmap(1, 4096)).toBe(-EINVAL)
  expect(libc.mmap(0, 0, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)).toBe(-EINVAL)
  expect(libc.sizeOf(-1)).toBe(-EBADF)
  expect(libc.kill(process.pid, 1000)).toBe(-EINVAL)
})

test('files are written, read and measured', () => {
  const fd = own(libc.open(join(directory(), 'file'), libc.O_RDWR | libc.O_CREAT))
  expect(libc.write(fd, bytesOf('hello world'))).toBe(11)
  const into = new Uint8Array(5)
  expect(libc.pread(fd, into, 6)).toBe(5)
  expect(text(into)).toBe('world')
  expect(libc.pwrite(fd, bytesOf('W'), 6)).toBe(1)
  expect(libc.sizeOf(fd)).toBe(11)
  expect(libc.ftruncate(fd, 7)).toBe(0)
  expect(libc.pread(fd, into, 6)).toBe(1)
  expect(into[0]).toBe('W'.charCodeAt(0))
  expect(libc.flock(fd, libc.LOCK_EX | libc.LOCK_NB)).toBe(0)
})

test('a relative path starts at the directory', () => {
  const dir = own(libc.open(directory(), libc.O_RDONLY))
  const fd = own(libc.openat(dir, 'inside', libc.O_RDWR | libc.O_CREAT | libc.O_EXCL))
  expect(libc.write(fd, bytesOf('x'))).toBe(1)
  expect(libc.openat(dir, 'inside', libc.O_RDWR | libc.O_CREAT | libc.O_EXCL)).toBe(-ERRNO.EEXIST)
})

test('ioctl takes bytes or an address', () => {
  const FIONREAD = 0x541b
  const [readEnd, writeEnd] = ownPair(libc.pipe())
  libc.write(writeEnd, bytesOf('four'))
  const count = new Int32Array(1)
  const bytes = new Uint8Array(count.buffer)
  expect(libc.ioctl(readEnd, FIONREAD, bytes)).toBe(0)
  expect(count[0]).toBe(4)
  count[0] = 0
  expect(libc.ioctl(readEnd, FIONREAD, addressOf(bytes))).toBe(0)
  expect(count[0]).toBe(4)
  expect(libc.ioctl(readEnd, FIONREAD, 4096)).toBe(-EFAULT)
  expect(libc.ioctl(readEnd, 0x00184705, bytes)).toBe(-ENOTTY)
})

test('a duplicate shares the flags of its original and starts where it is told', () => {
  const [readEnd] = ownPair(libc.pipe())
  const copy = own(libc.dup(readEnd, 100))
  expect(copy).toBeGreaterThanOrEqual(100)
  expect(libc.setStatusFlags(readEnd, libc.O_NONBLOCK)).toBe(0)
  expect(libc.statusFlags(copy) & libc.O_NONBLOCK).toBe(libc.O_NONBLOCK)
  expect(libc.read(copy, new Uint8Array(1))).toBe(-EAGAIN)
})

test('a write to a pipe that nobody reads answers EPIPE and no signal', () => {
  const [readEnd, writeEnd] = ownPair(libc.pipe())
  libc.close(readEnd)
  disown(readEnd)
  expect(libc.write(writeEnd, bytesOf('x'))).toBe(-EPIPE)
})

test('a memfd is mapped, shared and sealed', () => {
  const fd = own(libc.memfd('interdom test'))
  expect(libc.ftruncate(fd, 8192)).toBe(0)
  const one = libc.mmap(0, 8192, READ_WRITE, MAP_SHARED, fd, 0)
  const other = libc.mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 4096)
  new Uint8Array(viewMemory(one, 8192))[4096] = 7
  expect(new Uint8Array(viewMemory(other, 4096))[0]).toBe(7)
  expect(addressOf(new Uint8Array(viewMemory(one, 8192), 100))).toBe(one + 100)
  const seals = libc.F_SEAL_SHRINK | libc.F_SEAL_GROW | libc.F_SEAL_FUTURE_WRITE
  expect(libc.addSeals(fd, seals)).toBe(0)
  expect(libc.getSeals(fd)).toBe(seals)
  expect(libc.ftruncate(fd, 4096)).toBe(-EPERM)
  expect(libc.mmap(0, 8192, READ_WRITE, MAP_SHARED, fd, 0)).toBe(-EPERM)
  const PUNCH = libc.FALLOC_FL_PUNCH_HOLE | libc.FALLOC_FL_KEEP_SIZE
  expect(libc.fallocate(fd, PUNCH, 0, 4096)).toBe(-EPERM)
  expect(libc.munmap(one, 8192)).toBe(0)
  expect(libc.munmap(other, 4096)).toBe(0)
})

test('mremap with no old length duplicates a mapping that could not be made again', () => {
  const fd = own(libc.memfd('interdom test'))
  libc.ftruncate(fd, 4096)
  const first = libc.mmap(0, 4096, READ_WRITE, MAP_SHARED, fd, 0)
  libc.addSeals(fd, libc.F_SEAL_FUTURE_WRITE)
  const flags = libc.MREMAP_MAYMOVE | libc.MREMAP_FIXED
  const spot = libc.mmap(0, 4096, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
  expect(libc.mremap(first, 0, 4096, flags, spot)).toBe(spot)
  new Uint8Array(viewMemory(spot, 4096))[0] = 9
  expect(new Uint8Array(viewMemory(first, 4096))[0]).toBe(9)
  libc.munmap(first, 4096)
  libc.munmap(spot, 4096)
})

test('memory of our own is read and written with EFAULT for what is not there', () => {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS
  const address = libc.mmap(0, 8192, READ_WRITE, flags, -1, 0)
  expect(libc.writeMemory(address, bytesOf('hello'))).toBe(5)
  const into = new Uint8Array(5)
  expect(libc.readMemory(address, into)).toBe(5)
  expect(text(into)).toBe('hello')
  expect(libc.isMapped(address, 8192)).toBe(true)
  libc.munmap(address + 4096, 4096)
  expect(libc.isMapped(address, 8192)).toBe(false)
  expect(libc.readMemory(address + 4094, into)).toBe(2)
  expect(libc.readMemory(address + 4096, into)).toBe(-EFAULT)
  libc.mprotect(address, 4096, PROT_READ)
  expect(libc.writeMemory(address, into)).toBe(-EFAULT)
  expect(libc.mprotect(address + 4096, 4096, PROT_READ)).toBe(-ENOMEM)
  expect(libc.madvise(address, 4096, libc.MADV_DONTFORK)).toBe(0)
  const again = libc.mmap(address, 4096, READ_WRITE, flags | MAP_FIXED, -1, 0)
  expect(again).toBe(address)
  libc.munmap(address, 4096)
})

test('the limit of descriptors is read and set', () => {
  const limit = libc.getDescriptorLimit()
  if (typeof limit === 'number') throw new Error(`refused: ${limit}`)
  const lower = { ...limit, soft: limit.soft - 1 }
  expect(libc.setDescriptorLimit(lower)).toBe(0)
  expect(libc.getDescriptorLimit()).toEqual(lower)
  expect(libc.setDescriptorLimit(limit)).toBe(0)
})

test('poll and epoll report what a descriptor is ready for', () => {
  const [readEnd, writeEnd] = ownPair(libc.pipe(libc.O_NONBLOCK))
  expect(libc.poll(readEnd, libc.POLLIN, 0)).toBe(0)
  const watch = own(libc.epoll())
  const events = new libc.EpollEvents(4)
  expect(libc.epollAdd(watch, readEnd, libc.POLLIN, 0xfffffffe)).toBe(0)
  expect(events.wait(watch, 0)).toBe(0)
  libc.write(writeEnd, bytesOf('x'))
  expect(libc.poll(readEnd, libc.POLLIN | libc.POLLOUT, -1)).toBe(libc.POLLIN)
  expect(events.wait(watch, -1)).toBe(1)
  expect([events.data(0), events.events(0)]).toEqual([0xfffffffe, libc.POLLIN])
  expect(libc.epollModify(watch, readEnd, 0)).toBe(0)
  expect(events.wait(watch, 0)).toBe(0)
  expect(libc.epollDelete(watch, readEnd)).toBe(0)
  expect(libc.epollDelete(watch, readEnd)).toBe(-ENOENT)
})
