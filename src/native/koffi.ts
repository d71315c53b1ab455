import { createRequire } from 'node:module'
import { isMainThread } from 'node:worker_threads'
import { ERRNO } from '../abi/errno.ts'

/** A user address of this process: below 2^47, so a plain number is exact. */
export type Address = number

/** 0 or more on success, `-errno` when the system refused. */
export type Result = number

/** What koffi passes on as it is: numbers and addresses, bytes by reference, a path. */
export type Argument = number | Uint8Array | string

type Native = (...args: readonly Argument[]) => number

type Koffi = typeof import('koffi')

/** RTLD_LAZY | RTLD_NODELETE. Source: bits/dlfcn.h of glibc; musl has the same. */
const LAZY_FOR_EVER = 0x1001

const require = createRequire(import.meta.url)
let module: Koffi | undefined
let library: ReturnType<Koffi['load']> | undefined

/**
 * The koffi module, loaded when the first native call is made: a program that only uses worlds
 * never needs it. Throws an Error that says what is missing and what to do; the cause is koffi's.
 */
export function koffi(): Koffi {
  if (module) return module
  try {
    module = require('koffi') as Koffi
  } catch (cause) {
    throw new Error(missing(), { cause })
  }
  if (!isMainThread) keepLoaded(module)
  return module
}

/**
 * Node unloads an addon with the last thread that loaded it, and only then closes what that thread
 * left open, in code that is gone: SIGSEGV. So a worker that loads it, loads it for good.
 */
function keepLoaded({ load }: Koffi): void {
  const path = Object.keys(require.cache).find(name => name.endsWith('koffi.node'))
  if (path) load(null).func('intptr_t dlopen(const char *path, int flags)')(path, LAZY_FOR_EVER)
}

/** Words for a koffi without its compiled half: that half is an optional package per platform. */
function missing(): string {
  const target = `${process.platform}-${process.arch}`
  return (
    `interdom calls the kernel through koffi, whose native module for ${target} could not be ` +
    `loaded. It is the optional package @koromix/koffi-${target}: install again without ` +
    '--omit=optional (or --no-optional), on the machine and with the libc that will run it. ' +
    'Where koffi brings no such package, only worlds (interdom/sim) work.'
  )
}

/** A function of libc that is looked up at its first call. */
export interface NativeFunction {
  invoke: Native
}

/**
 * Declares a function of libc by its C prototype. Results must fit a number: an address is an
 * `intptr_t` and not a pointer, since user space ends at 2^47 and -1 is the failure; koffi would
 * otherwise answer with a BigInt for each of them (binding.md, trap 8).
 */
export function declare(prototype: string): NativeFunction {
  const bound: NativeFunction = {
    invoke(...args) {
      library ??= koffi().load(null)
      bound.invoke = library.func(prototype) as Native
      return bound.invoke(...args)
    },
  }
  return bound
}

/** The answer of a libc call in the seam's convention: -1 becomes `-errno`. */
export function answer(result: number): Result {
  return result === -1 ? -koffi().errno() : result
}

/**
 * As {@link answer}, but calls again for as long as a signal interrupts. Node installs its handlers
 * with SA_RESTART, so this is rare; code of other libraries in the process may do otherwise.
 */
export function restarted(bound: NativeFunction, ...args: readonly Argument[]): Result {
  for (;;) {
    const result = answer(bound.invoke(...args))
    if (result !== -ERRNO.EINTR) return result
  }
}

/**
 * The address of the first byte of `bytes`, which the caller must keep referenced for as long as
 * the kernel may use it.
 */
export function addressOfBytes(bytes: Uint8Array): number {
  return Number(koffi().address(bytes))
}
