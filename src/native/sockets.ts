import { ioctl } from './files.ts'
import { answer, declare, type Result, restarted } from './koffi.ts'

/** Unix sockets only. Source: include/linux/socket.h, include/uapi/asm-generic/socket.h. */
const AF_UNIX = 1
export const SOCK_STREAM = 1
export const SOCK_SEQPACKET = 5
export const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000

export const SOL_SOCKET = 1
export const SO_ERROR = 4
export const SO_SNDBUF = 7
const SO_PEERCRED = 17
const SO_RCVTIMEO = 20
const SO_SNDTIMEO = 21
/** Linux 6.16. */
const SO_PASSRIGHTS = 83
/** Source: include/uapi/linux/sockios.h, man 7 unix. */
const SIOCOUTQ = 0x5411

export const SHUT_RDWR = 2

export const MSG_PEEK = 0x02
export const MSG_DONTWAIT = 0x40
export const MSG_NOSIGNAL = 0x4000

/** Bytes of a path that a sockaddr_un holds, without its closing NUL. */
export const SOCKET_PATH_MAX = 107
const ENAMETOOLONG = 36

const socket_ = declare('int socket(int domain, int type, int protocol)')
const socketpair_ = declare('int socketpair(int domain, int type, int protocol, void *fds)')
const bind_ = declare('int bind(int fd, const void *address, uint32_t length)')
const connect_ = declare('int connect(int fd, const void *address, uint32_t length)')
const listen_ = declare('int listen(int fd, int backlog)')
const accept4 = declare('int accept4(int fd, uintptr_t address, uintptr_t length, int flags)')
const getsockopt_ = declare('int getsockopt(int fd, int level, int name, void *v, void *length)')
const setsockopt_ = declare(
  'int setsockopt(int fd, int level, int name, const void *v, uint32_t n)',
)
const shutdown_ = declare('int shutdown(int fd, int how)')
const send_ = declare('intptr_t send(int fd, const void *bytes, size_t length, int flags)')
const recv_ = declare('intptr_t recv(int fd, void *bytes, size_t length, int flags)')

/** socket(2) of AF_UNIX, close-on-exec. `type` is SOCK_*, SOCK_NONBLOCK included or not. */
export function socket(type: number): Result {
  return answer(socket_.invoke(AF_UNIX, type | SOCK_CLOEXEC, 0))
}

/** socketpair(2) of AF_UNIX: both ends close-on-exec, or -errno. */
export function socketpair(type: number): [one: number, other: number] | Result {
  const fds = new Int32Array(2)
  const bytes = new Uint8Array(fds.buffer)
  const result = answer(socketpair_.invoke(AF_UNIX, type | SOCK_CLOEXEC, 0, bytes))
  return result < 0 ? result : [fds[0]!, fds[1]!]
}

/** A sockaddr_un: u16 family, the path, a NUL. Undefined when the path is too long for it. */
function socketAddress(path: string): Uint8Array | undefined {
  const name = new TextEncoder().encode(path)
  if (name.byteLength > SOCKET_PATH_MAX) return undefined
  const address = new Uint8Array(2 + name.byteLength + 1)
  address[0] = AF_UNIX
  address.set(name, 2)
  return address
}

/** bind(2) to a path. -ENAMETOOLONG above {@link SOCKET_PATH_MAX} bytes. */
export function bind(fd: number, path: string): Result {
  const address = socketAddress(path)
  return address ? answer(bind_.invoke(fd, address, address.byteLength)) : -ENAMETOOLONG
}

/** connect(2) to a path; blocks while the listener's queue is full, -EAGAIN if non-blocking. */
export function connect(fd: number, path: string): Result {
  const address = socketAddress(path)
  return address ? restarted(connect_, fd, address, address.byteLength) : -ENAMETOOLONG
}

export function listen(fd: number, backlog: number): Result {
  return answer(listen_.invoke(fd, backlog))
}

/** accept4(2): the new descriptor, close-on-exec. `flags`: SOCK_NONBLOCK or 0. */
export function accept(fd: number, flags = 0): Result {
  return restarted(accept4, fd, 0, 0, flags | SOCK_CLOEXEC)
}

/** Who is at the other end, as the kernel recorded it at connect, listen or socketpair. */
export interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

export function peerCredentials(fd: number): PeerCredentials | Result {
  const value = new Uint32Array(3)
  const length = Uint32Array.of(value.byteLength)
  const result = answer(getsockopt_.invoke(fd, SOL_SOCKET, SO_PEERCRED, raw(value), raw(length)))
  return result < 0 ? result : { pid: value[0]!, uid: value[1]!, gid: value[2]! }
}

/** An int option, such as SO_ERROR. Values that the kernel gives are 0 or more. */
export function getSocketOption(fd: number, level: number, name: number): Result {
  const value = new Int32Array(1)
  const length = Uint32Array.of(value.byteLength)
  const result = answer(getsockopt_.invoke(fd, level, name, raw(value), raw(length)))
  return result < 0 ? result : value[0]!
}

export function setSocketOption(fd: number, level: number, name: number, value: number): Result {
  const bytes = raw(Int32Array.of(value))
  return answer(setsockopt_.invoke(fd, level, name, bytes, bytes.byteLength))
}

/**
 * A blocking receive or send ends with -EAGAIN after this long. A struct timeval: i64 seconds, i64
 * microseconds (SO_RCVTIMEO of 64-bit Linux).
 */
export function setTimeouts(fd: number, ms: number): Result {
  const value = BigInt64Array.of(BigInt(Math.floor(ms / 1000)), BigInt((ms % 1000) * 1000))
  const bytes = new Uint8Array(value.buffer)
  for (const name of [SO_RCVTIMEO, SO_SNDTIMEO]) {
    const result = answer(setsockopt_.invoke(fd, SOL_SOCKET, name, bytes, bytes.byteLength))
    if (result < 0) return result
  }
  return 0
}

/**
 * Nobody can send descriptors to this socket any more: sendmsg(2) answers -EPERM at the other end.
 * -ENOPROTOOPT before Linux 6.16.
 */
export function refuseDescriptors(fd: number): Result {
  return setSocketOption(fd, SOL_SOCKET, SO_PASSRIGHTS, 0)
}

/** Bytes sent to the other end that it has not received yet, as the kernel counts: 0 or more. */
export function unreceived(fd: number): Result {
  const value = new Int32Array(1)
  const result = ioctl(fd, SIOCOUTQ, new Uint8Array(value.buffer))
  return result < 0 ? result : value[0]!
}

/** shutdown(2): ends the connection for every process that holds the socket. */
export function shutdown(fd: number, how: number): Result {
  return answer(shutdown_.invoke(fd, how))
}

/** send(2) without descriptors; never raises SIGPIPE. Answers bytes. */
export function send(fd: number, bytes: Uint8Array, flags = 0): Result {
  return restarted(send_, fd, bytes, bytes.byteLength, flags | MSG_NOSIGNAL)
}

/** recv(2): descriptors that come along are closed by the kernel. Answers bytes, 0 at the end. */
export function receive(fd: number, into: Uint8Array, flags = 0): Result {
  return restarted(recv_, fd, into, into.byteLength, flags)
}

function raw(array: Int32Array | Uint32Array): Uint8Array {
  return new Uint8Array(array.buffer)
}
