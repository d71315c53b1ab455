/**
 * What a puppet is asked and what it answers.
 *
 * A puppet is a process that performs calls of the seam on command. In process the requests are
 * these objects; to a child they travel as lines, one JSON object each, requests on its standard
 * input and replies on its standard output, so that a puppet can be written in any language:
 *
 *     <- {"hello":1,"pid":4711,"domid":1}                                 once, when it is ready
 *     -> {"id":1,"op":"open","device":"gntalloc","access":"readwrite","nonblock":true}
 *     <- {"id":1,"result":3}
 *     -> {"id":2,"op":"ioctl","fd":3,"number":1591045,"bytes":"AQABAAEAAAAAAAAA…"}
 *     <- {"id":2,"result":0,"bytes":"AQABAAEAAAAAAAAA…"}
 *     -> {"id":3,"op":"ready","fd":4,"timeoutMs":30000}
 *     <- {"id":3,"result":-110}
 *
 * - `bytes` is base64. Every other field is a number, a boolean or a word of the types below.
 * - Requests are answered one after the other, in their order.
 * - `result` is what the system call answered, or `-errno`; an address is a result too. `bytes` of
 *   a reply are the argument as the driver left it (ioctl), what was read (read), or memory (peek).
 * - `poll` answers `readiness`: {"in":true,"out":true,"err":false}.
 * - `ready` waits until poll would report `in` or `err`: 0, or -ETIMEDOUT after `timeoutMs`.
 * - `reset` unmaps all memory that the puppet mapped or allocated, in ascending order, and closes
 *   all its descriptors: the puppet is as new. `exit` answers, then exits with status 0 and leaves
 *   the cleaning up to the kernel. The end of standard input is an exit too.
 * - What is no answer of a kernel (a request that makes no sense, a RangeError of the seam) is
 *   {"id":4,"error":"words"}: a bug of the case.
 *
 * A puppet in C (testbed/puppet.c) can do more, where a platform is nothing but the kernel:
 *
 *     -> {"id":5,"op":"peek","address":4096,"length":1}
 *     <- {"id":5,"result":-14,"signal":"SIGSEGV"}              what an access ended in
 *     -> {"id":6,"op":"syscall","name":"lseek","args":[3,0,0]}
 *     <- {"id":6,"result":-29}
 *     -> {"id":7,"op":"fork","line":3}
 *     <- {"id":7,"result":4712}                                the child says hello on its line
 *
 * - `syscall` makes any of {@link SystemCall}; what it points to is made by `alloc` and `poke`. A
 *   reset does not know what it did.
 * - `fork`: `line` is a descriptor of the puppet, a socket that it was started with. The child
 *   takes its requests from there and answers there, in place of its standard input and output.
 * - `watch`: each SIGIO looks at the byte at `address`. `signals` answers how many came since it
 *   was last asked, and as `bytes` what the last of them saw. A SIGALRM does nothing but to
 *   interrupt a call.
 *
 * So can a puppet of a world (world-puppet.ts), whose processes fork without a line.
 */
import type { DeviceName } from '../abi/devices.ts'
import type { Fault } from '../kernel/vma.ts'
import type { Access, Address, MmapOptions, Readiness, Result } from '../platform.ts'

export type { Fault }

/** Raised whenever a puppet of the other side would misunderstand. */
export const PUPPET_PROTOCOL_VERSION = 1

/** A system call that the seam does not have; the names are those of Linux. */
export type SystemCall =
  | 'epoll_create1'
  | 'epoll_ctl'
  | 'epoll_pwait'
  | 'fcntl'
  | 'futex'
  | 'lseek'
  | 'madvise'
  | 'mlock'
  | 'mremap'
  | 'msync'
  | 'pipe2'
  | 'process_vm_readv'
  | 'read'
  | 'setitimer'
  | 'write'

/** What only a puppet of the capabilities `fork`, `signal`, `fault` and `remap` can do. */
type AbleRequest =
  | { op: 'syscall'; name: SystemCall; args: readonly number[] }
  | { op: 'fork'; line: number }
  | { op: 'watch'; address: Address }
  | { op: 'signals' }

/** What a puppet is asked to do. */
export type Request = SeamRequest | AbleRequest

/** A seam call, as a puppet is told to make it. */
export type SeamRequest =
  | { op: 'open'; device: DeviceName; access: Access; nonblock: boolean }
  /** Exactly one of `bytes` and `address`, or neither for a call without an argument. */
  | { op: 'ioctl'; fd: number; number: number; bytes?: Uint8Array; address?: Address }
  | ({ op: 'mmap'; fd: number } & MmapOptions)
  | { op: 'read'; fd: number; length: number }
  | { op: 'write'; fd: number; bytes: Uint8Array }
  | { op: 'poll'; fd: number }
  | { op: 'ready'; fd: number; timeoutMs: number }
  | { op: 'dup'; fd: number }
  | { op: 'close'; fd: number }
  | { op: 'alloc'; length: number; at?: Address }
  | { op: 'munmap'; address: Address; length: number }
  | { op: 'protect'; address: Address; length: number; prot: number }
  | { op: 'peek'; address: Address; length: number }
  | { op: 'poke'; address: Address; bytes: Uint8Array }
  | { op: 'reset' }
  | { op: 'exit' }

export type SeamOp = SeamRequest['op']
export type RequestOf<O extends SeamOp> = Extract<SeamRequest, { op: O }>

/** What a puppet answers to a request. */
export interface Reply {
  result: Result
  bytes?: Uint8Array
  readiness?: Readiness
  /** Of a peek or poke that a puppet survived. */
  signal?: Fault
}

/** A message as its line, without the newline. */
export function encodeLine(message: object): string {
  return JSON.stringify(message, (_key, value: unknown) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value,
  )
}

/** A message as it came in: whose fields are believed only after a look. */
export interface Message {
  id?: unknown
  hello?: unknown
  domid?: unknown
  op?: unknown
  error?: unknown
  bytes?: unknown
  [field: string]: unknown
}

/** The message of a line, its `bytes` as bytes again. */
export function decodeLine(line: string): Message {
  const message: unknown = JSON.parse(line)
  if (typeof message !== 'object' || message === null) throw new Error(`not a message: ${line}`)
  const fields: Message = { ...message }
  if (typeof fields.bytes === 'string')
    fields.bytes = new Uint8Array(Buffer.from(fields.bytes, 'base64'))
  return fields
}
