/**
 * The memory of a user process as its kernel sees it during one call: copy_from_user and
 * copy_to_user. A world backs it with the simulated address space, a host with what the client
 * sent along and takes back.
 */
export interface UserMemory {
  /** A private copy of the bytes, or undefined for -EFAULT. */
  read(address: number, length: number): Uint8Array | undefined
  /** The same for bytes that are looked at once, before anything is stored: a copy or none. */
  view(address: number, length: number): Uint8Array | undefined
  /** Stores the bytes and answers true, or changes nothing behind the fault and answers false. */
  write(address: number, bytes: Uint8Array): boolean
  /** Whether every byte could be read, or read and written: what pinning a page asks. */
  canAccess(address: number, length: number, writable: boolean): boolean
}
