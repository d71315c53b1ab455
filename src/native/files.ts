import { fstatSync } from 'node:fs'
import { ERRNO } from '../abi/errno.ts'
import { type Address, answer, declare, type Result, restarted } from './koffi.ts'

/** Source: include/uapi/asm-generic/fcntl.h; equal on x86-64 and arm64. */
export const O_RDONLY = 0
export const O_WRONLY = 1
export const O_RDWR = 2
export const O_CREAT = 0o100
export const O_EXCL = 0o200
export const O_NONBLOCK = 0o4000
const O_CLOEXEC = 0o2000000

const AT_FDCWD = -100

const F_GETFD = 1
const F_GETFL = 3
const F_SETFL = 4
const F_DUPFD_CLOEXEC = 1030
const F_ADD_SEALS = 1033
const F_GET_SEALS = 1034

/** Seals of a memfd. Source: include/uapi/linux/fcntl.h. */
export const F_SEAL_SEAL = 0x01
export const F_SEAL_SHRINK = 0x02
export const F_SEAL_GROW = 0x04
export const F_SEAL_WRITE = 0x08
export const F_SEAL_FUTURE_WRITE = 0x10

const MFD_CLOEXEC = 1
const MFD_ALLOW_SEALING = 2

/** Operations of {@link flock}. */
export const LOCK_EX = 2
export const LOCK_NB = 4

/** Modes of {@link fallocate}. */
export const FALLOC_FL_KEEP_SIZE = 1
export const FALLOC_FL_PUNCH_HOLE = 2

const openat_ = declare('int openat(int dir, const char *path, int flags, uint32_t mode)')
const close_ = declare('int close(int fd)')
const read_ = declare('intptr_t read(int fd, void *bytes, size_t length)')
const write_ = declare('intptr_t write(int fd, const void *bytes, size_t length)')
const pread_ = declare('intptr_t pread(int fd, void *bytes, size_t length, intptr_t at)')
const pwrite_ = declare('intptr_t pwrite(int fd, const void *bytes, size_t length, intptr_t at)')
const ioctlBytes = declare('int ioctl(int fd, size_t number, void *argument)')
// koffi binds one prototype per declaration, and both of these name the same function of libc.
const ioctlAddress = declare('int ioctl(int fd, size_t number, uintptr_t argument)')
const fcntl_ = declare('int fcntl(int fd, int command, intptr_t argument)')
const memfdCreate = declare('int memfd_create(const char *name, unsigned int flags)')
const ftruncate_ = declare('int ftruncate(int fd, intptr_t length)')
const fallocate_ = declare('int fallocate(int fd, int mode, intptr_t offset, intptr_t length)')
const flock_ = declare('int flock(int fd, int operation)')
const pipe2_ = declare('int pipe2(void *fds, int flags)')
const eventfd_ = declare('int eventfd(unsigned int value, int flags)')

/** open(2), always close-on-exec. Answers the descriptor. */
export function open(path: string, flags: number, mode = 0o600): Result {
  return openat(AT_FDCWD, path, flags, mode)
}

/** openat(2), always close-on-exec. */
export function openat(directory: number, path: string, flags: number, mode = 0o600): Result {
  return restarted(openat_, directory, path, flags | O_CLOEXEC, mode)
}

/**
 * close(2). Never repeated: Linux has let go of the descriptor even when it answers -EINTR, and its
 * number may already be another thread's.
 */
export function close(fd: number): Result {
  return answer(close_.invoke(fd))
}

/** read(2): fills `into` from its start, answers bytes. Blocks as the descriptor does. */
export function read(fd: number, into: Uint8Array): Result {
  return restarted(read_, fd, into, into.byteLength)
}

/** write(2): answers bytes. A pipe without readers answers -EPIPE: Node ignores SIGPIPE. */
export function write(fd: number, from: Uint8Array): Result {
  return restarted(write_, fd, from, from.byteLength)
}

export function pread(fd: number, into: Uint8Array, at: number): Result {
  return restarted(pread_, fd, into, into.byteLength, at)
}

export function pwrite(fd: number, from: Uint8Array, at: number): Result {
  return restarted(pwrite_, fd, from, from.byteLength, at)
}

/**
 * ioctl(2). Bytes are handed over in place: the kernel may write past a buffer that is too short,
 * so whoever calls this has compared its length with the driver's structs before. Not repeated on
 * -EINTR, since not every driver call may be made twice.
 */
export function ioctl(fd: number, number: number, argument: Uint8Array | Address = 0): Result {
  const number32 = number >>> 0
  return typeof argument === 'number'
    ? answer(ioctlAddress.invoke(fd, number32, argument))
    : answer(ioctlBytes.invoke(fd, number32, argument))
}

/** A second descriptor of the same open file description, close-on-exec, `from` or above. */
export function dup(fd: number, from = 0): Result {
  return answer(fcntl_.invoke(fd, F_DUPFD_CLOEXEC, from))
}

/** FD_CLOEXEC or 0: for tests, everything that is opened here has it. */
export function descriptorFlags(fd: number): Result {
  return answer(fcntl_.invoke(fd, F_GETFD, 0))
}

export function statusFlags(fd: number): Result {
  return answer(fcntl_.invoke(fd, F_GETFL, 0))
}

/** Sets O_NONBLOCK of the open file description, which all its descriptors share. */
export function setStatusFlags(fd: number, flags: number): Result {
  return answer(fcntl_.invoke(fd, F_SETFL, flags))
}

export function addSeals(fd: number, seals: number): Result {
  return answer(fcntl_.invoke(fd, F_ADD_SEALS, seals))
}

export function getSeals(fd: number): Result {
  return answer(fcntl_.invoke(fd, F_GET_SEALS, 0))
}

/** memfd_create(2), close-on-exec and open to sealing. `name` shows in /proc/PID/maps only. */
export function memfd(name: string): Result {
  return answer(memfdCreate.invoke(name, MFD_CLOEXEC | MFD_ALLOW_SEALING))
}

export function ftruncate(fd: number, length: number): Result {
  return restarted(ftruncate_, fd, length)
}

/** Bytes of a file, or -errno. fstat(2) has no symbol of its own in older glibc; Node knows. */
export function sizeOf(fd: number): Result {
  try {
    return fstatSync(fd).size
  } catch (error) {
    // Node checks the number first, and throws a RangeError of its own for a negative one.
    return (error as NodeJS.ErrnoException).errno ?? -ERRNO.EBADF
  }
}

export function fallocate(fd: number, mode: number, offset: number, length: number): Result {
  return restarted(fallocate_, fd, mode, offset, length)
}

export function flock(fd: number, operation: number): Result {
  return restarted(flock_, fd, operation)
}

/** pipe2(2): `[readEnd, writeEnd]`, close-on-exec, or -errno. Flags: O_NONBLOCK or 0. */
export function pipe(flags = 0): [readEnd: number, writeEnd: number] | Result {
  const fds = new Int32Array(2)
  const bytes = new Uint8Array(fds.buffer)
  const result = answer(pipe2_.invoke(bytes, flags | O_CLOEXEC))
  return result < 0 ? result : [fds[0]!, fds[1]!]
}

/** eventfd(2), close-on-exec. Flags: O_NONBLOCK (equal to EFD_NONBLOCK) or 0. */
export function eventfd(value: number, flags = 0): Result {
  return answer(eventfd_.invoke(value, flags | O_CLOEXEC))
}
