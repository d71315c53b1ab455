import { answer, declare, type Result } from './koffi.ts'

/** Source: include/uapi/asm-generic/resource.h. */
const RLIMIT_NOFILE = 7

const kill_ = declare('int kill(int pid, int signal)')
const getrlimit_ = declare('int getrlimit(int resource, void *limits)')
const setrlimit_ = declare('int setrlimit(int resource, const void *limits)')

/** kill(2). Signal 0 asks whether the process exists. */
export function kill(pid: number, signal: number): Result {
  return answer(kill_.invoke(pid, signal))
}

/** How many descriptors this process may have: now, and at most. */
export interface DescriptorLimit {
  readonly soft: number
  readonly hard: number
}

export function getDescriptorLimit(): DescriptorLimit | Result {
  const limits = new BigUint64Array(2)
  const result = answer(getrlimit_.invoke(RLIMIT_NOFILE, new Uint8Array(limits.buffer)))
  return result < 0 ? result : { soft: Number(limits[0]), hard: Number(limits[1]) }
}

/** Node raises its soft limit to the hard one at start; this is for children and for tests. */
export function setDescriptorLimit({ soft, hard }: DescriptorLimit): Result {
  const limits = BigUint64Array.of(BigInt(soft), BigInt(hard))
  return answer(setrlimit_.invoke(RLIMIT_NOFILE, new Uint8Array(limits.buffer)))
}
